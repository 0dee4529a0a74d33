"""Chaos Toolkit action and probes for a table that is dropped by mistake."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from chaoslib.exceptions import ActivityFailed
from chaoslib.types import Configuration, Secrets
from psycopg import sql

from chaos import running
from chaos.faults.proving import fault_of, prove
from chaos.handover import Facts, Fault
from chaos.journal import RESTORE_TABLE, Journal
from infra.fabric.process.system import System
from infra.machine.waiting import until
from infra.parts import postgres

__all__ = ["drop_table", "replica_lacks_table", "rows_are_back"]

_EXISTS = "select to_regclass(%s) is not null"


def drop_table(
    experiment: str, table: str, configuration: Configuration = None, secrets: Secrets = None
) -> dict[str, Any]:
    """Drop a table as its owner may. The instant to go back to is read under the table's lock, so that no write can
    come between it and the drop."""
    system = running.system()
    owner = postgres.dsn(system.place, "covenant_owner", system.site.secrets["owner"])
    name = sql.Identifier(table)
    with psycopg.connect(owner) as link:
        link.execute(sql.SQL("lock table {} in access exclusive mode").format(name))
        row = link.execute(sql.SQL("select clock_timestamp(), count(*) from {}").format(name)).fetchone()
        assert row is not None
        Journal(system.site.path).begin(experiment, RESTORE_TABLE, {"table": table, "at": row[0].isoformat()})
        at_ns = time.monotonic_ns()
        link.execute(sql.SQL("drop table {}").format(name))
    primary = postgres.primary(system.place)
    fault = Fault(
        experiment=experiment, at_ns=at_ns, part=primary.name if primary else "postgres",
        target=f"table {table} with {row[1]:,} rows", before={"rows": row[1]},
    )  # fmt: skip
    Facts(system.site.path).add(fault)
    return {"target": fault.target, "at_ns": at_ns, "rows": row[1]}


def replica_lacks_table(
    experiment: str, table: str, within_s: int, configuration: Configuration = None, secrets: Secrets = None
) -> bool:
    """Prove that the table is gone on the last replica of the topology, which only replays what happened."""
    system, _ = fault_of(experiment)
    url, name = _last_replica(system)

    def look() -> str | None:
        with psycopg.connect(url, autocommit=True) as link:
            return None if link.execute(_EXISTS, [table]).fetchone() == (True,) else "no such table"

    return prove(system, experiment, f"{table} on {name}", "no such table", until(look, within_s), "it is there")


def rows_are_back(
    experiment: str, table: str, within_s: int, configuration: Configuration = None, secrets: Secrets = None
) -> bool:
    """Wait until the last replica has at least as many rows again as there were before the drop."""
    system, fault = fault_of(experiment)
    url, name = _last_replica(system)
    before, found = fault.before["rows"], [0]

    def look() -> bool | None:
        with psycopg.connect(url, autocommit=True) as link:
            if link.execute(_EXISTS, [table]).fetchone() == (True,):
                row = link.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(table))).fetchone()
                found[0] = row[0] if row else 0
        return True if found[0] >= before else None

    if until(look, within_s) is None:
        raise ActivityFailed(f"expected at least {before:,} rows of {table} on {name}, found {found[0]:,}")
    return True


def _last_replica(system: System) -> tuple[str, str]:
    node = system.place.nodes(postgres.Postgres.kind)[-1]
    secret = system.site.secrets["observer"]
    return postgres.dsn(system.place, "covenant_observer", secret, node=node), node.name
