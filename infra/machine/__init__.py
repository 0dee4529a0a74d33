"""This machine: its processes, ports and load, and how progress on it is told."""
