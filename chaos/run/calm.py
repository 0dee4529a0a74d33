"""Whether the SLO held during a stretch of time, by the probes: the baseline that a fault needs before it, and the calm
that shows it is over. Pure.

The SLO is a p99, as the recovery clocks read it: a slow probe or two of hundreds are no disturbance, an unanswered one
is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from reports.evidence import Probe

_SHARE_EXPECTED = 0.8
"""Of the probes that the schedule asks for; fewer than that show nothing."""
_SLOW_SHARE_ALLOWED = 0.01
"""Of all probes, as a p99 says."""
_SLOW_ALLOWED = 2
"""Of one place, whatever the share: as many slow probes as the recovery clocks take for no outage."""

Place = tuple[str, str]
"""(region, operation)"""


def disturbance(
    history: Iterable[Probe],
    places: Iterable[Place],
    slo_us: Mapping[str, int],
    *,
    begin_ns: int,
    end_ns: int,
    rate_hz: float,
    slow_allowed: bool = True,
) -> str | None:
    """What was wrong with the probes meant for begin_ns..end_ns, in words; None if every (region, operation) of
    `places` was probed often enough, each of its probes was ok, and the SLO held: for 99% of all probes, and for all of
    a place but two; for every single one if not `slow_allowed`."""
    window = [probe for probe in history if begin_ns <= probe.at_ns < end_ns]
    enough = _SHARE_EXPECTED * rate_hz * (end_ns - begin_ns) / 1e9
    slow: list[str] = []
    for region, operation in places:
        probes = [probe for probe in window if (probe.region, probe.operation) == (region, operation)]
        if len(probes) < enough:
            return f"{operation} from {region}: expected at least {enough:.0f} probes, found {len(probes)}"
        for probe in probes:
            if probe.outcome != "ok":
                return f"{operation} from {region}: {probe.outcome} ({probe.detail or 'no detail'})"
        slow_here = _slow(probes, slo_us[operation])
        if len(slow_here) > (_SLOW_ALLOWED if slow_allowed else 0):
            return f"{len(slow_here)} of {len(probes)} probes slow, {slow_here[0]}"
        slow += slow_here
    if len(slow) > _SLOW_SHARE_ALLOWED * len(window):
        return f"{len(slow)} of {len(window)} probes slow, {slow[0]}"
    return None


def _slow(probes: Sequence[Probe], slo_us: int) -> list[str]:
    """The slow ones of one place, in words."""
    slo_ms = slo_us / 1000
    return [
        f"{probe.operation} from {probe.region}: took {probe.latency_us / 1000:.0f} ms, the SLO is {slo_ms:.0f} ms"
        for probe in probes
        if probe.latency_us > slo_us
    ]
