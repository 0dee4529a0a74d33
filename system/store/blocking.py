"""A connection to the primary for commands and threads, which wait for each answer in turn.

libpq finds the primary among the members; it tries them one after the other, each with a deadline.
"""

from __future__ import annotations

from typing import Any

import psycopg

from system.settings import Settings

_CONNECT_WITHIN_S = 2

Connection = psycopg.Connection[tuple[Any, ...]]


def connect(settings: Settings, name: str, statement_within_s: int | None = None) -> Connection:
    """psycopg.OperationalError with every member's answer if none of them is the primary; likewise later for a
    statement that takes longer than `statement_within_s`."""
    members = [member.rpartition(":") for member in settings.database_hosts.split(",")]
    limit = "" if statement_within_s is None else f"-c statement_timeout={statement_within_s * 1000}"
    return psycopg.connect(
        host=",".join(host for host, _, _ in members),
        port=",".join(port for _, _, port in members),
        target_session_attrs="read-write",
        dbname=settings.database,
        user=settings.database_user,
        password=settings.database_password,
        connect_timeout=_CONNECT_WITHIN_S,
        application_name=f"covenant-{name}",
        options=limit,
        sslmode="verify-full" if settings.database_ca else "disable",
        sslrootcert=settings.database_ca,
        ssl_min_protocol_version="TLSv1.3",
    )
