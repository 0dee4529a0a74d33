"""What an operator does when the active region is lost, and when it comes back.

`take_over` makes another region active: it promotes PostgreSQL's primary there, makes the region's mirror the bus, and
starts the parts there that run once (the relay, analytics, the audit trail, notifications). It fences first: it kills
what is left of these parts in the old region. An old relay that it could not reach stops by itself as soon as it sees
the database (`system.events.promote`).

`bring_back` lets a lost region follow the active one. Its bus is stale, so it is wiped and mirrors the new one. Its
cache may hold effects of writes that the database lost, so it starts empty. Meanwhile nothing is published to the stale
bus, and no client is served by it. To make the region active again takes another `take_over`, when the operator chooses
to; both regions are whole then, and nothing is lost.

`./covenant region take-over|bring-back REGION` is the operator's command.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from infra.fabric.protocol import Fabric, StartError
from infra.parts import leafs, postgres
from infra.parts.postgres import NotPromoted
from infra.parts.valkey import Valkey
from infra.site import bus_layout, bus_users
from infra.topology.model import Node

_BUS_READY_WITHIN_S = 30.0
_PARTS_READY_WITHIN_S = 60.0
_RETURNED_WITHIN_S = 120.0


class NotTakenOver(Exception):
    """A region cannot take over, or has not done so completely; says why, and what to do."""


def take_over(system: Fabric, region: str) -> None:
    """Make a region active. Returns once writes, events and consumers work there. It may be repeated. NotTakenOver."""
    place = system.place
    before = bus_layout.active_region(place)
    _check(system, region, before)
    for node in _of_one(system, region, there=False):
        system.kill(node.name)
    bus_layout.activate(place, region)
    try:
        with ThreadPoolExecutor(1) as aside:
            database = aside.submit(_promote_database, system, region)
            if bus_layout.mirrored(place) and before != region:
                _restart(system, bus_layout.of_region(place, region))
            database.result()
        system.run_once("system.events.promote", role="app", region=region, bus_user=bus_users.PROMOTER)
        working = _of_one(system, region, there=True)
        for node in working:
            system.start_part(node.name)
        system.wait_ready([system.parts[node.name] for node in working], time.monotonic() + _PARTS_READY_WITHIN_S)
        system.write_target()
        if bus_layout.mirrored(place) and before != region:
            _follow(system, [other for other in bus_layout.followers(place) if _lives(system, other)])
    except (NotPromoted, StartError) as error:
        raise NotTakenOver(f"{region} is the active region now, but does not work yet: {error}; try again") from error


def bring_back(system: Fabric, region: str) -> None:
    """Start everything in a region that was lost, with its bus as a mirror of the active one. It may be repeated.
    StartError."""
    place = system.place
    if region == bus_layout.active_region(place):
        parts = [part.node for part in system.parts.values() if part.node.region == region]
    else:
        for node in _of_one(system, region, there=True):
            system.kill(node.name)
        parts = [
            part.node for part in system.parts.values()
            if part.node.region == region and bus_layout.works(place, part.node)
        ]  # fmt: skip
    following = bus_layout.followers(place).get(region, [])
    stale = [node for node in following if leafs.followed(place, node) != bus_layout.active_region(place)]
    caches = [node for node in parts if node.kind == Valkey.kind and _is_of_before(system, node)]
    for node in (*stale, *caches):
        system.kill(node.name)
    for node in parts:
        system.start_part(node.name)
    system.wait_ready([system.parts[node.name] for node in parts], time.monotonic() + _RETURNED_WITHIN_S)
    if following:
        system.make_mirrors([region])


def _is_of_before(system: Fabric, node: Node) -> bool:
    """Whether a part is running since before the active region took over."""
    started = system.started_at(node.name)
    return started is not None and started < bus_layout.activated_at(system.place)


def _check(system: Fabric, region: str, active: str) -> None:
    place = system.place
    if not _of_one(system, region, there=True):
        known = sorted({node.region for node in place.all_nodes() if node.standby} | {active})
        raise NotTakenOver(f"expected a region that can take over ({', '.join(known)}), found {region}")
    if not bus_layout.mirrored(place) or region == active:
        return
    for node in bus_layout.of_region(place, region):
        if leafs.followed(place, node) != active:
            raise NotTakenOver(
                f"{node.name} does not mirror the bus of {active}: bring {region} back first, so that it follows"
            )


def _of_one(system: Fabric, region: str, *, there: bool) -> list[Node]:
    """The nodes of kinds with standbys: those in the region if `there`, else those elsewhere."""
    nodes = system.place.all_nodes()
    kinds = {node.kind for node in nodes if node.standby}
    return [node for node in nodes if node.kind in kinds and (node.region == region) is there]


def _promote_database(system: Fabric, region: str) -> None:
    """Promote a member of PostgreSQL in the region, unless it is the primary already. NotPromoted."""
    now = postgres.primary(system.place)
    if now is not None and now.region == region:
        return
    members = [node for node in system.place.nodes(postgres.Postgres.kind) if node.region == region]
    if not members:
        raise NotPromoted(f"expected a member of PostgreSQL in {region} to promote, found none")
    postgres.promote(system.place, members[0])


def _restart(system: Fabric, nodes: Iterable[Node]) -> None:
    """Restart bus nodes in their new role."""
    parts = [system.parts[node.name] for node in nodes]
    system.restart(*(part.name for part in parts))
    system.wait_ready(parts, time.monotonic() + _BUS_READY_WITHIN_S)


def _lives(system: Fabric, region: str) -> bool:
    return all(system.alive(node.name) for node in bus_layout.of_region(system.place, region))


def _follow(system: Fabric, regions: list[str]) -> None:
    """Let regions mirror the bus where it is now."""
    _restart(system, [node for region in regions for node in bus_layout.of_region(system.place, region)])
    system.make_mirrors(regions)
