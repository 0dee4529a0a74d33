"""Covenant's rules, pure: no I/O, no clock, no configuration."""
