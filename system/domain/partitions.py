"""Which partition an aggregate's events go to.

The database's trigger computes the same thing where the outbox row is written (`outbox_partition` in the
migrations). This is the definition, and a test compares the two.
"""

from __future__ import annotations

from hashlib import sha256

from system.wire import PARTITIONS, Aggregate


def partition_of(aggregate: Aggregate, aggregate_id: str) -> str:
    """The partition of an aggregate's events: the first byte of the SHA-256 of its id, modulo the number of partitions.
    A hash that does not depend on machine or version keeps the partition the same for ever."""
    return f"{aggregate}.{sha256(aggregate_id.encode()).digest()[0] % PARTITIONS}"
