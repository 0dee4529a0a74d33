"""Whether a primary that lost its lease still takes writes: asked at its own port, past every client's way of finding
the primary.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import msgspec
import psycopg
from chaoslib.exceptions import ActivityFailed

from chaos.faults.activity import Activity
from infra.parts import postgres
from infra.site.site import Place
from infra.topology.model import Node

_EVERY_S = 0.05
_WRITE = "select pg_logical_emit_message(true, 'covenant.probe', '')"
"""A transaction that leaves a commit in the log and nothing in any table."""
_OPTIONS = "-c statement_timeout=1000"
_LOCAL = "-c synchronous_commit=local"
_UNCONFIRMED = "synchronous replication"
"""Part of the warning with which PostgreSQL gives up to wait for a standby: it acknowledges the commit all the same."""


class Tally(msgspec.Struct):
    leads: str
    """Who leads instead, in words."""
    accepted: int = 0
    """Writes that the old primary acknowledged while another member led."""
    refusals: Counter[str] = msgspec.field(default_factory=Counter)
    """What it said to the others."""

    @property
    def tries(self) -> int:
        return self.accepted + self.refusals.total()


def try_write(place: Place, node: Node, *, local: bool = True) -> str | None:
    """Why a member refuses a write, in a few words; None if it has acknowledged one.

    `local`: the commit waits for no standby, so that any fork of the database acknowledges it. Otherwise it is durable
    as clients' commits are, and one that no standby has confirmed within a second is none.
    """
    url = postgres.dsn(place, "postgres", place.site.secrets["postgres"], node=node, database="postgres")
    warnings: list[str] = []
    try:
        with psycopg.connect(url, autocommit=True, options=f"{_OPTIONS} {_LOCAL if local else ''}") as link:
            link.add_notice_handler(lambda notice: warnings.append(notice.message_primary or ""))
            link.execute(_WRITE)
            if any(_UNCONFIRMED in warning for warning in warnings):
                return "no standby has confirmed it"
    except psycopg.errors.ReadOnlySqlTransaction:
        return "read only"
    except psycopg.errors.ObjectNotInPrerequisiteState:
        return "in recovery"
    except psycopg.Error as error:
        return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return None


def watch(
    leads: Callable[[], str | None],
    refusal: Callable[[], str | None],
    within_s: float,
    for_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Tally | None:
    """Try to write until `for_s` after another member leads; None if none does within `within_s`.

    Only tries that begin after another member was seen to lead are counted: a write before that is the lease's.
    """
    deadline = clock() + within_s
    tally: Tally | None = None
    end = deadline
    while clock() < end:
        if tally is None and (who := leads()) is not None:
            tally, end = Tally(who), clock() + for_s
        refused = refusal()
        if tally is not None:
            if refused is None:
                tally.accepted += 1
            else:
                tally.refusals[refused] += 1
        sleep(_EVERY_S)
    return tally


def accepted_nothing(activity: Activity, who: str, tally: Tally | None) -> bool:
    """Count the writes that the old primary acknowledged while another member led: any is a lost write. ActivityFailed
    if no other led."""
    if tally is None:
        raise ActivityFailed("expected another member to lead in time, found none")
    how = f"{who} takes no write at its own port while {tally.leads} leads"
    unit = f"of {tally.tries} writes acknowledged"
    activity.count("recovery.rpo_loss", tally.accepted, unit, how, ok=tally.accepted == 0)
    return True
