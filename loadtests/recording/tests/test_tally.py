"""What is counted, from literal histories; and that parts merge to what one process would have counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loadtests.arrivals.schedule import Schedule
from loadtests.recording.live import LiveStats
from loadtests.recording.tally import Part, Tally, merge_parts
from reports.evidence import Load, Outcome, Rate, percentile_ms

S = 1_000_000_000
MS = 1_000_000
SCHEDULE = Schedule(0, 10.0, 1.0, 2.0)  # operations 10 ... 29 are measured

outcomes: st.SearchStrategy[Outcome] = st.sampled_from(["ok", "fail", "unknown"])
histories = st.lists(st.tuples(st.integers(0, 29), outcomes, st.integers(0, 5000)), max_size=40)


def _part(history: list[tuple[int, Outcome, int]], released: int = 30) -> Part:
    tally = Tally(SCHEDULE, "api.read_p99")
    for n, outcome, latency_ms in history:
        intended = SCHEDULE.intended_ns(n)
        tally.ready(intended, intended + MS)
        tally.ended(intended, intended + latency_ms * MS, outcome, region="iad", method="GET", name="/x", detail="why")
    return tally.close(released, {})


def _merged(parts: list[Part]) -> Load:
    return merge_parts(parts, scenario="s", warmup_s=1.0, requests=True, settings={"durability": "R3"})


def test_the_warm_up_is_not_counted() -> None:
    load = _merged([_part([(9, "ok", 900), (10, "ok", 1), (29, "fail", 1)])])
    assert (load.offered, load.sent, load.ok, load.failed, load.unknown) == (20, 2, 1, 1, 0)
    assert (load.begin_ns, load.end_ns) == (S, 3 * S)
    assert [(second.at_ns, second.ok, second.failed) for second in load.seconds] == [(S, 1, 0), (2 * S, 0, 1)]


def test_a_failed_operation_is_slower_than_any_that_succeeded() -> None:
    load = _merged([_part([(n, "ok" if n < 20 else "unknown", 5) for n in range(10, 30)])])
    (operation,) = load.operations
    assert (operation.name, operation.region) == ("api.read_p99", "iad")
    assert percentile_ms(operation.latencies, 50) is not None
    assert percentile_ms(operation.latencies, 51) == float("inf")


def test_schedule_lag_is_counted_apart_from_latency() -> None:
    load = _merged([_part([(10, "ok", 700)])])
    assert percentile_ms(load.schedule_lag, 99) == 1.0


def test_a_rate_counts_what_was_completed_by_the_end_of_the_window_and_a_quarter_of_a_second() -> None:
    tally = Tally(SCHEDULE, "bus.publish_p99")
    for n, latency_ms in ((9, 5), (10, 2240), (11, 2150), (12, 2051), (29, 350)):  # 9 warms up, 12 is late
        tally.ended(SCHEDULE.intended_ns(n), SCHEDULE.intended_ns(n) + latency_ms * MS, "ok", method="PUB", name="x")
    parts = [tally.close(30, {}, rate="bus.throughput"), tally.close(30, {}, rate="bus.throughput"), _part([])]
    assert _merged(parts).rates == [Rate(name="bus.throughput", offered=40, completed=6)]


def test_a_load_that_was_ended_early_offered_what_came_due() -> None:
    load = _merged([_part([(n, "ok", 1) for n in range(15)], released=15)])
    assert (load.offered, load.sent, load.end_ns) == (5, 5, SCHEDULE.intended_ns(15))
    load = _merged([_part([(3, "ok", 1)], released=4)])
    assert (load.offered, load.sent, load.begin_ns, load.end_ns) == (0, 0, S, S)


@given(histories, histories)
def test_parts_merge_to_what_one_process_would_have_counted(
    one: list[tuple[int, Outcome, int]], other: list[tuple[int, Outcome, int]]
) -> None:
    apart, together = _merged([_part(one), _part(other)]), _merged([_part(one + other)])
    assert _merged([_part(other), _part(one)]) == apart
    for name in ("sent", "ok", "failed", "unknown", "schedule_lag", "operations", "seconds"):
        assert getattr(apart, name) == getattr(together, name), name


def test_failures_alike_within_a_tenth_of_a_second_are_one_record() -> None:
    tally = Tally(Schedule(0, 1000.0, 0.0, 1.0), "bus.publish_p99")
    for n in (0, 1, 50, 150):
        tally.ended(n * MS, n * MS, "unknown", method="PUB", name="publish", detail="lost")
    tally.ended(2 * MS, 3 * MS, "fail", method="PUB", name="publish", detail="refused")
    found = [(each.at_ns, each.outcome, each.count) for each in tally.take_failures()]
    assert found == [(0, "unknown", 3), (150 * MS, "unknown", 1), (2 * MS, "fail", 1)]
    assert tally.take_failures() == []


def test_live_statistics_are_rounded_as_locust_rounds() -> None:
    live = LiveStats()
    for latency_ms in (0.4, 1.6, 99.4, 147.0, 1470.0, 14_700.0):
        live.add("GET", "/x", latency_ms)
    live.add("GET", "/x", 2.0, "status 503")
    (stat,) = live.take()
    assert stat.response_times_ms == {0: 1, 2: 2, 99: 1, 150: 1, 1500: 1, 15_000: 1}
    assert stat.errors == {"status 503": 1}
    assert live.take() == []


def test_a_line_of_live_statistics_keeps_its_size_whatever_the_errors_say() -> None:
    live = LiveStats()
    for n in range(1000):
        live.add("GET", "/x", 1.0, f"error number {n} " + "x" * 1000)
    (stat,) = live.take()
    assert sum(stat.errors.values()) == 1000
    assert len(stat.errors) <= 11
    assert max(map(len, stat.errors)) <= 100


def test_seconds_that_are_long_past_are_kept_small_and_lose_nothing() -> None:
    schedule = Schedule(0, 2.0, 0.0, 60.0)
    tally = Tally(schedule, "api.read_p99")
    order = [*range(120), *range(40)]  # The first ones end twice: long after their second, too.
    for n in order:
        tally.ended(schedule.intended_ns(n), schedule.intended_ns(n) + MS, "ok", method="GET", name="/x")
    assert len(tally._seconds._open) <= 20, "histograms in use"
    load = _merged([tally.close(120, {})])
    assert [second.ok for second in load.seconds] == [4] * 20 + [2] * 40
    assert {second.p99_ms for second in load.seconds} == {1.0}


def test_the_warm_up_is_shown_apart() -> None:
    tally = Tally(SCHEDULE, "api.read_p99")
    for n in (8, 9, 10):
        tally.ended(SCHEDULE.intended_ns(n), SCHEDULE.intended_ns(n) + MS, "ok", method="GET", name="/x")
    assert {stat.warmup: sum(stat.response_times_ms.values()) for stat in tally.live.take()} == {True: 2, False: 1}
