"""Verdicts: each row measured from evidence and judged by policy. Never imports a document."""
