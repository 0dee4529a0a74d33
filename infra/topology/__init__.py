"""Regions, distances and what stands where, read from one TOML file. Pure."""
