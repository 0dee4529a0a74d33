"""A table is dropped by mistake, and restored from the backups in S3 to the instant before."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import psycopg
from chaoslib.exceptions import ActivityFailed
from chaoslib.types import Configuration
from psycopg import sql

from chaos.faults import roles
from chaos.faults.activity import Activity
from chaos.faults.registry import HealError, undo
from infra.backup.restore import NotRestored
from infra.fabric.protocol import Fabric
from infra.machine.waiting import until
from infra.operations import recovery
from infra.parts import postgres

__all__ = ["drop_table", "replica_lacks_table", "rows_are_back"]

_EXISTS = "select to_regclass(%s) is not null"


@undo("restore the table")
def restore_table(system: Fabric, arguments: Mapping[str, str]) -> None:
    """The undo of a dropped table: it is brought back from the backups as it was the moment before."""
    try:
        recovery.restore_table(system, arguments["table"], datetime.fromisoformat(arguments["at"]))
    except (NotRestored, psycopg.Error) as error:
        raise HealError(str(error)) from error


def drop_table(table: str, configuration: Configuration) -> dict[str, Any]:
    """Drop a table as its owner may. The instant to go back to is read under the table's lock, so that no write can
    come between it and the drop."""
    activity = Activity(configuration)
    system = activity.system
    owner = postgres.dsn(system.place, "covenant_owner", system.site.secrets["owner"])
    name = sql.Identifier(table)
    with psycopg.connect(owner) as link:
        link.execute(sql.SQL("lock table {} in access exclusive mode").format(name))
        row = link.execute(sql.SQL("select clock_timestamp(), count(*) from {}").format(name)).fetchone()
        assert row is not None
        activity.prepare(restore_table, table=table, at=row[0].isoformat())
        at_ns = time.monotonic_ns()
        link.execute(sql.SQL("drop table {}").format(name))
    part = roles.primary(system).node.name
    return activity.injected(at_ns, part, f"table {table} with {row[1]:,} rows", {"rows": row[1]})


def replica_lacks_table(table: str, within_s: int, configuration: Configuration) -> bool:
    """Prove that the table is gone on the farthest replica, which only replays what happened."""
    activity = Activity(configuration)
    url, name = _farthest_replica(activity.system)

    def look() -> str | None:
        with psycopg.connect(url, autocommit=True) as link:
            return None if link.execute(_EXISTS, [table]).fetchone() == (True,) else "no such table"

    return activity.prove(f"{table} on {name}", "no such table", until(look, within_s), "it is there")


def rows_are_back(table: str, within_s: int, configuration: Configuration) -> bool:
    """Wait until the farthest replica has at least as many rows again as there were before the drop."""
    activity = Activity(configuration)
    url, name = _farthest_replica(activity.system)
    before, found = activity.fault().before["rows"], [0]

    def look() -> bool | None:
        with psycopg.connect(url, autocommit=True) as link:
            if link.execute(_EXISTS, [table]).fetchone() == (True,):
                row = link.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(table))).fetchone()
                found[0] = row[0] if row else 0
        return True if found[0] >= before else None

    if until(look, within_s) is None:
        raise ActivityFailed(f"expected at least {before:,} rows of {table} on {name}, found {found[0]:,}")
    return True


def _farthest_replica(system: Fabric) -> tuple[str, str]:
    """Its URL for the observer, and its name."""
    node = roles.farthest_replica(system)
    secret = system.site.secrets["observer"]
    return postgres.dsn(system.place, "covenant_observer", secret, node=node), node.name
