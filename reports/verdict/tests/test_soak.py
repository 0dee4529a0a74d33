"""What hours of load did: literal series that grow, that only fill a cache, that wander, and that slow down."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.evidence import HostSample, Latencies, Load, Recorder, Second
from reports.findings.intervals import shift_interval, slope_interval
from reports.findings.loaded import Evidence
from reports.model import Row
from reports.tests.spoilt_run import report_of
from reports.tests.synthetic_run import Story, run_record
from reports.verdict.measures.soak import BLOCKS, growth

SECOND = 1_000_000_000
HOUR = 3600
START = 1000 * SECOND
EVERY_S = 30

Series = Callable[[float], float]
"""From hours to a value."""


def _nothing() -> Latencies:
    return Recorder().close()


def _load(hours: float, p50_ms: Series, name: str = "soak") -> Load:
    length = round(hours * HOUR)
    seconds = [
        Second(at_ns=START + n * SECOND, ok=50, failed=0, p50_ms=p50_ms(n / HOUR), p99_ms=20.0) for n in range(length)
    ]
    return Load(
        scenario=name, begin_ns=START, end_ns=START + length * SECOND, warmup_s=60, offered_per_s=60,
        offered=60 * length, sent=60 * length, ok=60 * length, failed=0, unknown=0, schedule_lag=_nothing(),
        operations=[], seconds=seconds, requests=True,
    )  # fmt: skip


def _samples(hours: float, memory: dict[str, Series], files: dict[str, Series]) -> list[HostSample]:
    return [
        HostSample(
            at_ns=START + n * SECOND, interval_s=1.0, busy=0.4, steal=0, foreign=0, timer_lag_ms=0.2, fsync_ms=0.3,
            memory_mib={kind: value(n / HOUR) for kind, value in memory.items()} if n % EVERY_S == 0 else {},
            files={kind: round(value(n / HOUR)) for kind, value in files.items()} if n % EVERY_S == 0 else {},
        )
        for n in range(0, round(hours * HOUR), EVERY_S // 2)
    ]  # fmt: skip


def _row(
    name: str, *, hours: float = 4, memory: dict[str, Series] | None = None, files: dict[str, Series] | None = None,
    p50_ms: Series = lambda hours: 5.0,
) -> Row:  # fmt: skip
    evidence = Evidence(
        run=run_record(Story(profile="load.soak")),
        loads=[_load(hours, p50_ms)],
        host=_samples(hours, memory or {"nats": lambda hours: 90.0}, files or {"nats": lambda hours: 60.0}),
    )
    report = report_of(evidence)
    return next(row for row in report.slos if row.id == name)


def _noisy(value: Series, spread: float, seed: int = 7) -> Series:
    dice = random.Random(seed)
    return lambda hours: value(hours) + dice.uniform(-spread, spread)


def test_memory_that_stays_is_no_leak() -> None:
    row = _row("soak.memory", memory={"nats": _noisy(lambda hours: 90.0, 3), "api": lambda hours: 120.0})
    assert row.verdict == "PASS"


def test_memory_that_grows_is_named_with_its_component() -> None:
    row = _row(
        "soak.memory", memory={"nats": lambda hours: 90.0, "api": _noisy(lambda hours: 120 + 12 * hours, 3)}
    )  # fmt: skip
    assert row.verdict == "FAIL"
    assert row.measured == pytest.approx(12, abs=0.5)
    assert row.why.startswith("api +1")


def test_a_cache_that_fills_at_the_beginning_is_no_leak() -> None:
    row = _row("soak.memory", memory={"postgres": lambda hours: 300 * (1 - math.exp(-8 * hours))})
    assert row.verdict == "PASS"


def test_the_generators_own_memory_is_not_the_systems() -> None:
    row = _row("soak.memory", memory={"nats": lambda hours: 90.0, "load": lambda hours: 50 + 100 * hours})
    assert row.verdict == "PASS"


def test_what_may_be_on_either_side_of_the_gate_needs_a_longer_run() -> None:
    row = _row("soak.memory", memory={"api": _noisy(lambda hours: 120 + 4 * hours, 40)})
    assert row.verdict == "INCONCLUSIVE"
    assert "a longer run tells" in row.why


@pytest.mark.parametrize("hours", [0.1, 0.5])
def test_a_short_run_shows_nothing(hours: float) -> None:
    assert _row("soak.memory", hours=hours).verdict == "INCONCLUSIVE"
    assert _row("soak.files", hours=hours).verdict == "INCONCLUSIVE"


def test_files_that_are_never_closed_are_found() -> None:
    assert _row("soak.files", files={"api": lambda hours: 60 + 30 * hours}).verdict == "FAIL"
    assert _row("soak.files", files={"api": _noisy(lambda hours: 60, 4)}).verdict == "PASS"


@pytest.mark.parametrize(
    ("p50_ms", "verdict"),
    [
        (lambda hours: 5.0, "PASS"),
        (lambda hours: 5.0 - 0.3 * hours, "PASS"),
        (lambda hours: 5.0 + 0.6 * hours, "FAIL"),
    ],
)
def test_answers_that_come_later_and_later(p50_ms: Series, verdict: str) -> None:
    assert _row("soak.drift", p50_ms=_noisy(p50_ms, 0.5)).verdict == verdict


def test_drift_is_the_last_hour_against_the_first() -> None:
    row = _row("soak.drift", p50_ms=lambda hours: 5.0 if hours < 1 else 50.0 if hours < 3 else 6.0)
    assert row.measured == pytest.approx(20)


def test_without_samples_it_is_inconclusive() -> None:
    evidence = Evidence(run=run_record(Story(profile="load.soak")), loads=[_load(4, lambda hours: 5.0)])
    report = report_of(evidence)
    row = next(row for row in report.slos if row.id == "soak.memory")
    assert (row.verdict, row.why) == ("INCONCLUSIVE", "nobody looked at what the components hold")


values = st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=30)


@given(values, st.floats(-1e3, 1e3), st.floats(0.01, 100))
def test_a_slope_follows_shift_and_scale_and_lies_in_its_interval(
    series: list[float], shift: float, scale: float
) -> None:
    points = [(float(at), value) for at, value in enumerate(series)]
    found = slope_interval(points)
    assert found is not None
    slope, low, high = found
    assert low <= slope <= high
    moved = slope_interval([(at, shift + scale * value) for at, value in points])
    assert moved == pytest.approx((scale * slope, scale * low, scale * high), rel=1e-6, abs=1e-3)


@given(st.floats(-1e3, 1e3), st.integers(3, 40))
def test_a_straight_line_has_its_slope_without_any_doubt(slope: float, count: int) -> None:
    found = slope_interval([(float(at), 5 + slope * at) for at in range(count)])
    assert found == pytest.approx((slope, slope, slope), rel=1e-9, abs=1e-9)


@given(values, values, st.floats(-100, 100))
def test_a_shift_is_what_was_added(before: list[float], noise: list[float], shift: float) -> None:
    found = shift_interval(before, [value + shift for value in before])
    assert found is not None
    assert found[1] <= shift + 1e-6
    assert found[2] >= shift - 1e-6
    other = shift_interval(before, noise)
    back = shift_interval(noise, before)
    assert other is not None
    assert back is not None
    assert back == pytest.approx((-other[0], -other[2], -other[1]), abs=1e-6)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of 400 series with a slope of 2 and noise that wanders, at least nine in ten."""
    dice = random.Random(11)
    held = 0
    for _ in range(400):
        points = [(float(at), 2 * at + dice.gauss(0, 20)) for at in range(BLOCKS)]
        _, low, high = slope_interval(points) or (0, 0, 0)
        held += low <= 2 <= high
    assert held >= 370


def test_too_few_points_have_no_slope() -> None:
    assert slope_interval([(0, 1), (1, 2)]) is None
    assert slope_interval([(1, 1), (1, 2), (1, 3)]) is None
    assert shift_interval([], [1.0]) is None
    assert growth([(n * SECOND, 1.0) for n in range(BLOCKS - 1)]) is None
