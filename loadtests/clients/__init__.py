"""Clients of the system, written against its wire and never against its inside."""
