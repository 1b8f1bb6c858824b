"""Agents that act in the worlds."""
