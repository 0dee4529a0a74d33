"""The tables of the outbox: who may write which, and that no statement reads all of it."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest

from system.settings import Settings
from system.store import outbox
from system.wire import observer

NEXT = f"select created_at from {observer.EVENTS} where partition = $1 and position > $2 order by position limit 1"
LAST = f"select id from {observer.EVENTS} order by id desc limit $1"
"""Queries of the kind that observers send."""


def as_role(settings: Settings, role: str) -> psycopg.Connection[Any]:
    host, _, port = settings.replica.partition(":")
    return psycopg.connect(f"host={host} port={port} dbname={settings.database} user={role}", autocommit=True)


def test_a_role_that_may_only_append_fills_the_queue_and_cannot_change_it(database: Settings) -> None:
    append = """insert into outbox (aggregate, aggregate_id, partition, region, type)
        select 'projects', n::text, 'projects.0', 'ams', 'deleted' from generate_series(1, 3) n"""
    with as_role(database, "postgres") as link:
        link.execute("drop role if exists appender")
        link.execute("create role appender login")
        link.execute("grant insert (aggregate, aggregate_id, partition, region, type) on outbox to appender")
    try:
        with as_role(database, "appender") as link:
            link.execute(append)
            for statement in ("insert into outbox_queue values ('projects', 9)", "delete from outbox_queue"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    link.execute(statement)
    finally:
        with as_role(database, "postgres") as link:
            link.execute("drop owned by appender; drop role appender")
            assert link.execute("select count(*) from outbox_queue").fetchone() == (3,)


@pytest.mark.parametrize(
    "statement",
    [
        "update outbox set type = type",
        "update outbox_position set position = position + 1",
        "update outbox_queue set id = id",
        "insert into outbox_queue values ('projects', 9)",
    ],
)
def test_the_application_changes_no_event_and_no_position(database: Settings, statement: str) -> None:
    with as_role(database, "covenant_app") as link, pytest.raises(psycopg.errors.InsufficientPrivilege):
        link.execute(statement.encode())


@pytest.mark.parametrize(
    ("statement", "types"),
    [
        (outbox._ASSIGN, "text, int, text[], bigint[], bigint[]"),
        (outbox._UNCONFIRMED, "text[], int"),
        (outbox.AFTER, "text, bigint, int"),
        (NEXT, "text, bigint"),
        (LAST, "int"),
    ],
)
@pytest.mark.parametrize("assigned", [0, 20_000, 40_000])
def test_no_plan_reads_the_whole_outbox_however_many_wait(
    database: Settings, statement: str, types: str, assigned: int
) -> None:
    with as_role(database, "postgres") as link:
        link.execute("""insert into outbox (aggregate, aggregate_id, partition, region, type)
            select 'projects', n::text, 'projects.' || n % 4, 'ams', 'deleted' from generate_series(1, 40000) n""")
        link.execute(
            """with taken as (delete from outbox_queue where id <= (select min(id) from outbox) - 1 + %s returning id)
            insert into outbox_position (outbox_id, partition, position)
            select id, 'projects.' || id %% 4, id from taken""",
            (assigned,),
        )
        link.execute("analyze outbox, outbox_position, outbox_queue")
        link.execute("set plan_cache_mode = force_generic_plan")
        link.execute(f"prepare asked ({types}) as {statement}".encode())
        given = ", ".join("null" for _ in types.split(","))
        plan = "\n".join(row[0] for row in link.execute(f"explain execute asked ({given})".encode()))
    assert re.search(r"Index (Only )?Scan (Backward )?using outbox_pkey on outbox", plan)
    for table in ("outbox", "outbox_queue", "outbox_position") if assigned else ("outbox", "outbox_queue"):
        assert f"Seq Scan on {table} " not in plan
