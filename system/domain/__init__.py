"""Covenant's rules as pure functions and data: no I/O, no clock, no configuration."""
