"""The link between two regions gets slow, uneven, lossy and narrow, in both directions; nothing is cut.

It is proven from inside the regions: handshakes take longer, and their kernels send segments again. The emulator's own
counters are not asked.
"""

from __future__ import annotations

import subprocess
import time
from typing import Any

import msgspec
from chaoslib.exceptions import ActivityFailed
from chaoslib.types import Configuration

from chaos.faults import roles
from chaos.faults.activity import Activity
from chaos.faults.network.links import ends, link_state, restore_link, round_trip_ms
from infra.fabric.protocol import Capability, Fabric
from infra.machine.waiting import until

__all__ = ["link_is_slow", "segments_are_sent_again", "slow_link"]

_ROUNDS = 5
"""Handshakes, of which the shortest counts: jitter and a busy machine only make them longer."""
_ASKED_WITHIN_S = 10.0
_SENT_AGAIN = "RetransSegs"


def slow_link(
    link: str, configuration: Configuration, delay_ms: float = 0.0, jitter_ms: float = 0.0, loss: float = 0.0,
    bandwidth_mb_s: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Make both directions of a link (`chaos.faults.roles.link`) slower by `delay_ms` each, uneven by up to `jitter_ms`
    more, lose a share of the packets (0 to 1), and carry at most so many 10^6 bytes a second."""
    activity = Activity(configuration)
    activity.needs(Capability.SHAPE_LINKS)
    system = activity.system
    one, other = roles.link(system, link)
    ways = [(one, other), (other, one)]
    shapes = {
        way: msgspec.structs.replace(
            shape, delay_ms=shape.delay_ms + delay_ms, jitter_ms=jitter_ms, loss=loss, bandwidth_mb_s=bandwidth_mb_s
        )
        for way in ways
        for shape in [link_state(system, *way).shape]
    }
    before = {_key(region): _sent_again(system, region) for region in (one, other)}
    for source, target in ways:
        activity.prepare(restore_link, source=source, target=target)
    at_ns = time.monotonic_ns()
    for (source, target), shape in shapes.items():
        system.shape_link(source, target, shape)
    narrow = f", at most {bandwidth_mb_s:g} MB/s" if bandwidth_mb_s is not None else ""
    words = f"{delay_ms:g} ms more each way, up to {jitter_ms:g} ms of jitter, {loss:.0%} of packets lost{narrow}"
    before["slower_us"] = round(2 * delay_ms * 1000)
    return activity.injected(at_ns, f"{one}-{other}", f"the link between {one} and {other}: {words}", before)


def link_is_slow(within_s: int, configuration: Configuration) -> bool:
    """Prove from inside both regions that the shortest of some handshakes takes as much longer as was asked for."""
    activity = Activity(configuration)
    system = activity.system
    one, other = ends(activity)
    least_ms = system.place.topology.distance_ms(one, other) + activity.fault().before["slower_us"] / 1000

    def look() -> str | None:
        found = [round_trip_ms(system, a, b, _ROUNDS) for a, b in ((one, other), (other, one))]
        if any(ms is None or ms < least_ms for ms in found):
            return None
        return " and ".join(f"{ms:.0f} ms" for ms in found)

    what = f"shortest of {_ROUNDS} TCP handshakes between {one} and {other}, from inside both"
    return activity.prove(what, f"at least {least_ms:.0f} ms", until(look, within_s), "less, or no answer")


def segments_are_sent_again(within_s: int, configuration: Configuration) -> bool:
    """Prove by what the kernels of both regions count that TCP segments were sent again since the fault."""
    activity = Activity(configuration)
    before = activity.fault().before

    def look() -> str | None:
        more = {region: _sent_again(activity.system, region) - before[_key(region)] for region in ends(activity)}
        return ", ".join(f"{count} in {region}" for region, count in more.items()) if all(more.values()) else None

    what = f"TCP segments that {' and '.join(ends(activity))} sent again since the fault"
    return activity.prove(what, "some in both", until(look, within_s), "none in one of them")


def _key(region: str) -> str:
    return f"sent_again_{region}"


def _sent_again(system: Fabric, region: str) -> int:
    """TCP segments that the kernel has sent again in a region, since the region was made."""
    command = [*system.inside(region), "cat", "/proc/net/snmp"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=_ASKED_WITHIN_S, check=False).stdout
    rows = [line.split() for line in found.splitlines() if line.startswith("Tcp:")]
    if len(rows) != 2 or _SENT_AGAIN not in rows[0]:
        raise ActivityFailed(f"expected the kernel's counters of TCP in {region}, found: {found[:200]!r}")
    return int(rows[1][rows[0].index(_SENT_AGAIN)])
