"""Grids of methods and seeds: runs, tables and figures."""
