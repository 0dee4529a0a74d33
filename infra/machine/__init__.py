"""This machine: its processes, ports, memory and load, and the progress that its user sees."""
