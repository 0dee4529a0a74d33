"""What is made of heartbeats: how many there are, how late each was, and what one that never came does."""

from __future__ import annotations

import math

import pytest

from loadtests.engine.heartbeats import SAMPLES, Replica, Seen, looking, parse, rate
from reports.evidence import percentile_ms
from reports.policy.policy import load_policy


@pytest.mark.parametrize(("duration_s", "per_s"), [(540, 10), (4 * 3600, 10), (60, 20), (30, 40), (5, 50)])
def test_a_short_load_has_enough_for_the_row_if_the_rate_allows(duration_s: float, per_s: float) -> None:
    assert rate(duration_s) == per_s
    assert load_policy().minimum_samples("recovery.lag") <= SAMPLES


@pytest.mark.parametrize(
    ("notice", "expected"),
    [
        ("heartbeat 7 1700000000000000 1700000000004200 1700000000001900",
         Seen(7, 1_700_000_000_000_000, 1_700_000_000_004_200, 1_700_000_000_001_900)),
        ("heartbeat", None),
        ("another notice of four 1 2 3", None),
    ],
)  # fmt: skip
def test_a_notice_is_read(notice: str, expected: Seen | None) -> None:
    assert parse(notice) == expected


def measured(*found: Seen, first: int = 0) -> Replica:
    replica = Replica("ams", "")
    replica.measure(first)
    for each in found:
        replica.noted(each)
    return replica


def test_one_that_never_came_ranks_above_all_others() -> None:
    replica = measured(*(Seen(n, 0, 3_000 + n, 1_000) for n in range(98)))
    lag, resolution = (operation.latencies for operation in replica.operations(100))
    assert (lag.samples, lag.unknown, resolution.samples, resolution.unknown) == (98, 2, 98, 0)
    assert percentile_ms(lag, 99) == math.inf
    assert percentile_ms(lag, 50) == pytest.approx(3.048, abs=0.01)
    assert percentile_ms(resolution, 50) == pytest.approx(2.048, abs=0.01)


def test_those_of_the_warm_up_are_not_measured() -> None:
    replica = measured(Seen(6, 0, 900_000, 0), Seen(7, 0, 3_000, 0), first=7)
    lag = replica.operations(1)[0].latencies
    assert (lag.samples, lag.unknown) == (1, 0)
    assert percentile_ms(lag, 100) == pytest.approx(3.0, abs=0.01)


def test_one_that_was_seen_before_it_was_written_is_below_zero_and_counted() -> None:
    lag = measured(Seen(1, 5_000, 4_000, 3_000)).operations(1)[0].latencies
    assert (lag.negative, lag.min_us) == (1, -1_000)


def test_each_look_has_a_snapshot_of_its_own() -> None:
    """A snapshot that is kept on a replica holds up the replay, and with it what is measured."""
    body = looking(60)
    assert body.index("loop") < body.index("commit;") < body.index("pg_sleep")
