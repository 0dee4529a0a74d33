"""What counts as calm: every place probed often enough, every probe served."""

from __future__ import annotations

from chaos.run.calm import disturbance
from reports.evidence import Outcome, Probe

MS = 1_000_000
PLACES = [("iad", "read"), ("bus", "publish")]
SLO_US = {"read": 100_000, "publish": 1_000_000}


def probes(region: str, operation: str, count: int, latency_us: int = 5_000, outcome: Outcome = "ok") -> list[Probe]:
    return [Probe(number * 50 * MS, region, operation, latency_us, outcome) for number in range(count)]


def look(history: list[Probe]) -> str | None:
    return disturbance(history, PLACES, SLO_US, begin_ns=0, end_ns=1000 * MS, rate_hz=20)


def test_calm_is_calm() -> None:
    assert look(probes("iad", "read", 20) + probes("bus", "publish", 20)) is None


def test_a_place_that_was_not_probed_is_no_calm() -> None:
    assert look(probes("iad", "read", 20)) == "publish from bus: expected at least 16 probes, found 0"


def test_a_failed_probe_is_no_calm() -> None:
    history = probes("iad", "read", 20) + probes("bus", "publish", 19) + [Probe(999 * MS, "bus", "publish", 1, "fail")]
    assert look(history) == "publish from bus: fail (no detail)"


def test_a_slow_probe_is_no_calm_where_its_own_slo_says_so() -> None:
    slow = probes("iad", "read", 20, latency_us=100_001) + probes("bus", "publish", 20, latency_us=100_001)
    assert look(slow) == "read from iad: took 100 ms, the SLO is 100 ms"


def test_what_lies_outside_the_window_does_not_count() -> None:
    late = [Probe(1000 * MS, "iad", "read", 1, "fail")]
    assert look(probes("iad", "read", 20) + probes("bus", "publish", 20) + late) is None
