"""Whether what the probes saw during a stretch of time was undisturbed: the baseline that a fault needs before
it, and the calm that shows it is over. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reports.evidence import Probe

_SHARE_EXPECTED = 0.8
"""Of the probes that the schedule asks for; fewer than that show nothing."""


def disturbance(
    history: Iterable[Probe],
    places: Iterable[tuple[str, str]],
    slo_us: Mapping[str, int],
    *,
    begin_ns: int,
    end_ns: int,
    rate_hz: float,
) -> str | None:
    """What was wrong with the probes meant for begin_ns..end_ns, in words; None if every (region, operation) of
    `places` was probed often enough, and each of its probes was ok and within its SLO."""
    window = [probe for probe in history if begin_ns <= probe.at_ns < end_ns]
    enough = _SHARE_EXPECTED * rate_hz * (end_ns - begin_ns) / 1e9
    for region, operation in places:
        probes = [probe for probe in window if (probe.region, probe.operation) == (region, operation)]
        if len(probes) < enough:
            return f"{operation} from {region}: expected at least {enough:.0f} probes, found {len(probes)}"
        for probe in probes:
            if probe.outcome != "ok":
                return f"{operation} from {region}: {probe.outcome} ({probe.detail or 'no detail'})"
            if probe.latency_us > slo_us[operation]:
                took_ms, slo_ms = probe.latency_us / 1000, slo_us[operation] / 1000
                return f"{operation} from {region}: took {took_ms:.0f} ms, the SLO is {slo_ms:.0f} ms"
    return None
