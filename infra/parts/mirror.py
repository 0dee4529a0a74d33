"""A region's mirror of the bus: one NATS server with a JetStream domain of its own, joined to the bus as a leaf.

Mirrors survive the loss of the bus, and the mirror of the region that takes over becomes the bus
(`infra.operations.promotion`). It is then a bus with a single copy (R1), until the lost region is back and mirrors it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

from infra.parts import nats
from infra.parts.nats import Nats
from infra.site import bus_layout
from infra.site.site import Place
from system import wire

_UNDER_WAY_MAX = 50
"""How many messages a mirror may lack while events flow: those that are under way on a link of 300 ms."""
_STREAMS = (*(stream.name for stream in wire.STREAMS), wire.DEAD_LETTERS)


class Mirror(Nats):
    kind = bus_layout.MIRROR
    port_names: ClassVar[tuple[str, ...]] = ("client", "leaf", "monitor")

    def waiting_for(self) -> str | None:
        return None if nats.monitor(self.place, self.node, "/jsz") else "its monitoring page"

    def _peers(self) -> dict[str, Any]:
        return {}


def settings(place: Place, regions: Collection[str]) -> dict[str, str]:
    """Setting -> value, for the command that makes the mirrors of these regions."""
    mirrors = []
    for region in regions:
        urls = [f"nats://{place.endpoint(node, 'client')}" for node in bus_layout.of_region(place, region)]
        mirrors.append(f"{region}={','.join(urls)}")
    return {"bus_domain": bus_layout.active_region(place), "mirrors": ";".join(mirrors)}


def missing(place: Place) -> str | None:
    """The first mirror that does not exist, does not follow or has not caught up, in words; None if there is none."""
    for region in bus_layout.followers(place):
        states = _states(place, region)
        for stream in _STREAMS:
            if stream not in states:
                return f"the mirror of {stream} in {region}"
            if (lag := states[stream].get("lag", 0)) > _UNDER_WAY_MAX or states[stream].get("active", -1) < 0:
                return f"the mirror of {stream} in {region} to follow ({lag} messages behind)"
    return None


def lags(place: Place) -> dict[str, dict[str, int]]:
    """Region -> stream -> how many messages its mirror lacks, as the mirror reports; -1 if it does not follow."""
    return {
        region: {
            name: state.get("lag", 0) if state.get("active", -1) >= 0 else -1
            for name, state in _states(place, region).items()
        }
        for region in bus_layout.followers(place)
    }


def _states(place: Place, region: str) -> dict[str, dict[str, Any]]:
    """Stream -> `lag` and `active` of its mirror in a region, as the mirror's leader reports them."""
    found: dict[str, dict[str, Any]] = {}
    for node in bus_layout.of_region(place, region):
        for stream in nats.streams(place, node, "&config=true&stream-leader-only=true"):
            if "mirror" in stream:
                found[stream["name"]] = stream["mirror"]
    return found


__all__ = ["Mirror", "lags", "missing", "settings"]
