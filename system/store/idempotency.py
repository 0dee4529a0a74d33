"""Answers to writes, stored under the client's idempotency key: a retry gets the stored answer.

The statement of the write also stores its answer (see `item_sql`), so that neither exists without the other.
"""

from __future__ import annotations

CONSTRAINT = "idempotency_pkey"
"""The constraint that a write violates if its key was used before."""
FIND = """
select request_sha256, status, answer ->> 'written', (answer -> 'item')::text from idempotency
where client_id = $1 and key = $2"""
