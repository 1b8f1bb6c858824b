"""Policies by reinforcement learning: training, storing, playing and comparing them."""
