"""Faults of the links between regions, and of what needs them."""
