"""Covenant: the reference system under test. It knows nothing of the harness."""
