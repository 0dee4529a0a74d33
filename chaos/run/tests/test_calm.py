"""What counts as calm: every place probed often enough, every probe served."""

from __future__ import annotations

import pytest

from chaos.run.calm import disturbance
from reports.evidence import Outcome, Probe

MS = 1_000_000
PLACES = [("iad", "read"), ("bus", "publish")]
SLO_US = {"read": 100_000, "publish": 1_000_000}


def probes(region: str, operation: str, count: int, latency_us: int = 5_000, outcome: Outcome = "ok") -> list[Probe]:
    return [Probe(number * 50 * MS, region, operation, latency_us, outcome) for number in range(count)]


def look(history: list[Probe], *, slow_allowed: bool = True) -> str | None:
    return disturbance(
        history, PLACES, SLO_US, begin_ns=0, end_ns=1000 * MS, rate_hz=20, slow_allowed=slow_allowed
    )  # fmt: skip


def with_slow(count: int, of: int = 20) -> list[Probe]:
    """A second of probes, `count` of the reads slow, and publishes enough for a share of one in a hundred each."""
    reads = probes("iad", "read", of - count) + probes("iad", "read", count, latency_us=100_001)
    return reads + probes("bus", "publish", 20) + [Probe(0, "bus", "publish", 1, "ok")] * (100 * count)


def test_calm_is_calm() -> None:
    assert look(probes("iad", "read", 20) + probes("bus", "publish", 20)) is None


def test_a_place_that_was_not_probed_is_no_calm() -> None:
    assert look(probes("iad", "read", 20)) == "publish from bus: expected at least 16 probes, found 0"


def test_a_failed_probe_is_no_calm() -> None:
    history = probes("iad", "read", 20) + probes("bus", "publish", 19) + [Probe(999 * MS, "bus", "publish", 1, "fail")]
    assert look(history) == "publish from bus: fail (no detail)"


def test_a_slow_probe_is_no_calm_where_its_own_slo_says_so() -> None:
    slow = probes("iad", "read", 20, latency_us=100_001) + probes("bus", "publish", 20, latency_us=100_001)
    assert look(slow) == "20 of 20 probes slow, read from iad: took 100 ms, the SLO is 100 ms"


@pytest.mark.parametrize("count", [1, 2])
def test_a_slow_probe_or_two_of_hundreds_are_calm_and_no_stable_stretch(count: int) -> None:
    assert look(with_slow(count)) is None
    assert look(with_slow(count), slow_allowed=False) is not None


def test_more_slow_probes_of_one_place_are_no_calm_however_many_others_were_fast() -> None:
    assert look(with_slow(3)) == "3 of 20 probes slow, read from iad: took 100 ms, the SLO is 100 ms"


def test_more_than_one_in_a_hundred_slow_is_no_calm() -> None:
    slow = probes("iad", "read", 20) + probes("bus", "publish", 19) + [Probe(0, "bus", "publish", 1_000_001, "ok")]
    assert look(slow) == "1 of 40 probes slow, publish from bus: took 1000 ms, the SLO is 1000 ms"


def test_what_lies_outside_the_window_does_not_count() -> None:
    late = [Probe(1000 * MS, "iad", "read", 1, "fail")]
    assert look(probes("iad", "read", 20) + probes("bus", "publish", 20) + late) is None
