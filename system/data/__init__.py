"""The data that a new system starts with: 195 countries from a file, 300 projects from a generator."""
