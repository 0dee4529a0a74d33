"""Which partition an aggregate's events go to.

The database's trigger computes the same thing where the outbox row is written (`outbox_partition` in the
migrations); this is its definition, and a test compares the two.
"""

from __future__ import annotations

from hashlib import sha256

from system.wire import PARTITIONS, Aggregate


def partition_of(aggregate: Aggregate, aggregate_id: str) -> str:
    """The partition of one aggregate: the first byte of the SHA-256 of its id, so that it stays the same
    on every machine and in every version."""
    return f"{aggregate}.{sha256(aggregate_id.encode()).digest()[0] % PARTITIONS}"
