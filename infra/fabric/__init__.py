"""Ways to run a system."""
