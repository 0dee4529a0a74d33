"""Heartbeats: who may write them, and that they stay few."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from system.settings import Settings
from system.store.tests.test_outbox_tables import as_role
from system.wire.load import ADMIT, BEAT, BEATS_KEPT, LAST_BEAT
from system.wire.observer import HEARTBEATS

Ask = Callable[[str], list[tuple[Any, ...]]]
_ROLE = "covenant_load"


def test_the_load_writes_heartbeats_and_cannot_add_or_remove_any(database: Settings, ask: Ask) -> None:
    with as_role(database, "postgres") as link:
        link.execute(f"drop role if exists {_ROLE}")
        link.execute(f"create role {_ROLE} login")
    try:
        with as_role(database, "covenant_owner") as link:
            link.execute(ADMIT)
        with as_role(database, _ROLE) as link:
            assert link.execute(LAST_BEAT).fetchone() == (0,)
            for beat in range(1, BEATS_KEPT + 3):
                assert link.execute(BEAT, {"beat": beat}).rowcount == 1
            for statement in (
                "insert into heartbeat values (99)",
                "delete from heartbeat",
                "update heartbeat set slot = 99",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    link.execute(statement)
        assert ask(f"select count(*), min(beat), max(beat) from {HEARTBEATS}") == [(BEATS_KEPT, 3, BEATS_KEPT + 2)]
        assert ask(f"select count(*) from {HEARTBEATS} where written_at > now()") == [(0,)]
    finally:
        with as_role(database, "postgres") as link:
            link.execute(f"drop owned by {_ROLE}; drop role {_ROLE}")


def test_the_application_may_not_write_them(database: Settings) -> None:
    with as_role(database, "covenant_app") as link, pytest.raises(psycopg.errors.InsufficientPrivilege):
        link.execute(BEAT, {"beat": 1})
