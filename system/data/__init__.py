"""The initial data of a new system: 195 countries from a file, 300 projects from a generator."""
