"""Engines to compare, each a process of its own in the Python environment that it needs."""
