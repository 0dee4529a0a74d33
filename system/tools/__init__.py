"""Command lines of the system for its operators."""
