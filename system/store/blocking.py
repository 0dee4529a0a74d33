"""A blocking connection to the primary, for command lines and threads.

libpq finds the primary among the members. It tries them one after the other, each with a timeout.
"""

from __future__ import annotations

from typing import Any

import psycopg

from system.settings import Settings

_CONNECT_WITHIN_S = 2

Connection = psycopg.Connection[tuple[Any, ...]]


def connect(settings: Settings, name: str, statement_within_s: int | None = None) -> Connection:
    """Connect to the primary. psycopg.OperationalError with every member's answer if none of them is the primary. A
    statement that takes longer than `statement_within_s` fails; None: no limit."""
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
