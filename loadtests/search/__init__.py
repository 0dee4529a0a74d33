"""Searches over loads: the knee of a scenario, the ceiling of a machine."""
