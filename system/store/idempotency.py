"""Answers to writes, kept by the client's key: what a retry is answered with.

They are written in the statement of the write (`rows`), so that there is never one without the other.
"""

from __future__ import annotations

CONSTRAINT = "idempotency_pkey"
"""What a write violates whose key was used before."""
FIND = """
select request_sha256, status, answer ->> 'written', (answer -> 'item')::text from idempotency
where client_id = $1 and key = $2"""
