"""How a system is protected, in words that are shown beside its figures."""

from __future__ import annotations

from infra.topology.options import Options


def in_words(options: Options) -> str:
    """What is encrypted on the wire and on disk, and what is not."""
    parts = ["a password for each user and component, made for the run"]
    if options.tls == "on":
        parts.append(
            "TLS 1.3 for NATS (with client certificates), PostgreSQL, Patroni, S3 and the API; etcd's build stops at "
            "1.2, with certificates on both sides; not encrypted: Valkey within a region (its build has no TLS)"
        )
    else:
        parts.append("no TLS")
    parts.append("AES-256 for the bus's store" if options.encryption == "on" else "no encryption at rest")
    return "; ".join(parts)
