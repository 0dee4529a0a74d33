"""Whether a primary that lost its lease still takes writes: asked at its own port, past every client's way of finding
the primary, and with a commit that waits for no standby, which a fork of the database would acknowledge.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import msgspec
import psycopg

from infra.parts import postgres
from infra.site.site import Place
from infra.topology.model import Node

_EVERY_S = 0.05
_WRITE = "select pg_logical_emit_message(true, 'covenant.probe', '')"
"""A transaction that leaves a commit in the log and nothing in any table."""
_OPTIONS = "-c synchronous_commit=local -c statement_timeout=1000"


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


def try_write(place: Place, node: Node) -> str | None:
    """Why a member refuses a write, in a few words; None if it has acknowledged one."""
    url = postgres.dsn(place, "postgres", place.site.secrets["postgres"], node=node, database="postgres")
    try:
        with psycopg.connect(url, autocommit=True, options=_OPTIONS) as link:
            link.execute(_WRITE)
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
