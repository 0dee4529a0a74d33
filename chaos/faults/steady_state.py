"""Chaos Toolkit probes of the steady state: every region serves, every copy is there, a write passes every hop.

Each look is repeated for some seconds: a late answer of a busy machine is no deviation, and sixty parts take their time
to be asked.
"""

from __future__ import annotations

import logging
import uuid

import msgspec
import psycopg
from chaoslib.exceptions import ActivityFailed

from chaos import running
from infra.fabric.protocol import Fabric
from infra.machine.waiting import until
from infra.parts.base import http_get
from infra.site import clients
from ledger.observe.one_write import APPLIED, Refused, create_project, delete_project
from system import wire

__all__ = ["apis_are_ready", "event_goes_through", "redundancy_is_complete"]

logger = logging.getLogger("chaostoolkit")


def apis_are_ready(within_s: int = 15) -> bool:
    """Whether the API of every region says that it can do its work (`/healthz/ready`)."""
    urls = running.system().target().api.values()
    return until(lambda: all(http_get(url + wire.READY, 2)[0] == 200 for url in urls) or None, within_s) is True


def redundancy_is_complete(within_s: int = 15) -> bool:
    """Whether every part runs, every PostgreSQL replica streams (one of them synchronous), every stream replica
    is current."""
    system = running.system()
    missing: list[str] = []

    def look() -> bool | None:
        missing[:] = system.missing()
        return None if missing else True

    if until(look, within_s):
        return True
    logger.warning("the system lacks %s", "; ".join(missing))
    return False


def event_goes_through(within_s: int = 15) -> bool:
    """Whether a write passes every hop: a project is created, its event reaches analytics, the project is deleted."""
    system = running.system()
    return event_goes_through_at(system, system.target().regions[0], within_s)


def event_goes_through_at(system: Fabric, region: str, within_s: float) -> bool:
    """The same, the write made at a region's API."""
    target = system.target()
    project = str(uuid.uuid4())
    try:
        base = target.api[region]
        home = msgspec.convert(target.regions[0], wire.Region)
        token = clients.token(target, "steward", home)
        etag = create_project(base, token, project, home)
        with psycopg.connect(target.observer_dsn, autocommit=True) as link:
            applied = until(lambda: link.execute(APPLIED, [project]).fetchone(), within_s)
        delete_project(base, token, project, etag)
    except (Refused, clients.NoToken, OSError, psycopg.Error) as error:
        raise ActivityFailed(f"a write did not pass: {error!r}") from error
    return applied is not None
