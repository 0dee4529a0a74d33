"""Faults of stored data: a table dropped by mistake."""
