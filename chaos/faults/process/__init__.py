"""Faults of processes: killed, crashed, paused."""
