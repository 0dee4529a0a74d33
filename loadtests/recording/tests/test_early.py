"""A load is ended early only if nothing that still follows could save a gate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.recording.early import EarlyEnd, Gate, Planned, allowed
from loadtests.recording.live import LiveStats, Stat, bucket_from_ms
from reports.evidence import Recorder, percentile_ms

GATE = Gate(row="api.read_p99", region="iad", limit_ms=100.0, minimum=1)


def seen(latencies_ms: list[float], *, error: str = "", region: str = "iad", row: str = "api.read_p99") -> list[Stat]:
    live = LiveStats(row)
    for latency_ms in latencies_ms:
        live.add("GET", f"{region} /", latency_ms, error, region=region)
    return live.take()


def ends(operations: int, stats: list[Stat], gate: Gate = GATE) -> str | None:
    early = EarlyEnd([gate])
    early.plan([Planned(row=gate.row, region=gate.region, operations=operations)])
    return next((why for stat in stats if (why := early.add(stat))), None)


def test_one_more_than_a_hundredth_of_all_that_is_planned_is_too_many() -> None:
    assert ends(1000, seen([150.0] * 10)) is None
    assert ends(1000, seen([150.0] * 11)) == (
        "api.read_p99.iad: 11 operations failed or took more than 100 ms, and of all 1,000 that were planned 10 may"
    )


def test_failures_count_like_slow_operations_and_none_counts_twice() -> None:
    assert ends(1000, seen([5.0] * 11, error="status 503")) is not None
    assert ends(1000, seen([150.0] * 10, error="status 503")) is None
    assert ends(1000, seen([150.0] * 6) + seen([5.0] * 6, error="status 503")) is None, "some may be the same"


def test_a_time_that_may_be_within_the_gate_does_not_count() -> None:
    """99.9 ms and 104 ms are both shown as 100."""
    assert ends(100, seen([104.0] * 50)) is None
    assert ends(100, seen([106.0] * 50)) is not None


@pytest.mark.parametrize("other", [{"region": "syd"}, {"row": "api.write_p99"}, {"row": ""}])
def test_what_is_evidence_for_another_row_does_not_count(other: dict[str, str]) -> None:
    assert ends(1000, seen([150.0] * 500, **other)) is None


def test_a_warm_up_does_not_count() -> None:
    live = LiveStats("api.read_p99")
    live.add("GET", "iad /", 500.0, count=500, warmup=True, region="iad")
    assert ends(1000, live.take()) is None


def test_a_row_is_not_ended_before_it_can_be_judged() -> None:
    gate = Gate(row="api.read_p99", region="iad", limit_ms=100.0, minimum=1000)
    assert ends(1000, seen([150.0] * 999), gate) is None
    assert ends(1000, seen([150.0] * 1000), gate) is not None


def test_the_plans_of_all_engines_add_up() -> None:
    early = EarlyEnd([GATE])
    for _ in range(2):
        early.plan([Planned(row=GATE.row, region="iad", operations=1000)])
    assert [early.add(stat) for stat in seen([150.0] * 20)] == [None]
    assert early.add(seen([150.0])[0]) is not None


@given(st.lists(st.floats(0, 200_000), min_size=1, max_size=200))
def test_a_bucket_never_begins_above_a_time_that_is_in_it(times_ms: list[float]) -> None:
    for time_ms in times_ms:
        (stat,) = seen([time_ms])
        ((bucket_ms, _),) = stat.response_times_ms.items()
        assert bucket_from_ms(bucket_ms) <= time_ms


@given(
    planned=st.integers(1, 400),
    began=st.lists(st.tuples(st.floats(0, 300), st.booleans()), max_size=60),
)
def test_where_it_ends_no_remaining_operation_could_save_the_gate(
    planned: int, began: list[tuple[float, bool]]
) -> None:
    """Against the verdict's own percentile, with everything that follows as fast as can be."""
    began = began[:planned]
    stats = [stat for latency_ms, ok in began for stat in seen([latency_ms], error="" if ok else "no")]
    if ends(planned, stats) is None:
        return
    recorder = Recorder()
    for latency_ms, ok in began:
        if ok:
            recorder.record_us(round(latency_ms * 1000))
        else:
            recorder.failed += 1
    so_far = percentile_ms(recorder.close(), 99)
    recorder.record_us(1, planned - len(began)) if planned > len(began) else None
    at_best = percentile_ms(recorder.close(), 99)
    assert so_far is not None
    assert at_best is not None
    assert so_far >= at_best > GATE.limit_ms


@pytest.mark.parametrize(("operations", "may"), [(1, 0), (99, 0), (100, 1), (199, 1), (1000, 10), (30_000, 300)])
def test_how_many_may_be_beyond_the_bound(operations: int, may: int) -> None:
    assert allowed(operations) == may
