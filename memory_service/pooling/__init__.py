"""Pools: what they hold and may hold, what of it is open, and what has outlived its time."""
