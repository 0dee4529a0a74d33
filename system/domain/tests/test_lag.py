"""Lag: what counts, and when an incident opens and closes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from system.domain.lag import AGE_MAX_S, EVENTS_MAX, Alarm, ConfirmedHistory, Lag, judge

ONE = "projects.0"


def history(*samples: tuple[float, int]) -> ConfirmedHistory:
    """The history of one partition, from (seconds, confirmed position) each."""
    made = ConfirmedHistory()
    for now_s, confirmed in samples:
        made.add(now_s, {ONE: confirmed})
    return made


def test_events_in_flight_are_no_lag() -> None:
    assert history((0, 0), (1, 50_000), (2, 100_000)).lag(2, {ONE: 0}) == Lag(0, 1)


def test_events_older_than_the_grace_period_are_lag() -> None:
    seen = history((0, 0), (1, 500), (2, 2_500), (3, 2_500), (4, 3_000), (5, 9_000))
    assert seen.lag(5, {ONE: 1_000}) == Lag(1_500, 3)
    assert seen.lag(5, {ONE: 9_000}) == Lag(0, 0)
    assert seen.lag(5, {}) == Lag(0, 0)


def test_a_single_event_that_is_not_applied_grows_old() -> None:
    made = history((0, 7))
    for now_s in range(1, 13):
        made.add(now_s, {ONE: 8})
    assert made.lag(12, {ONE: 7}) == Lag(1, 11)
    assert made.lag(12, {ONE: 8}) == Lag(0, 0)


def test_the_partitions_add_up_and_the_oldest_counts() -> None:
    made = ConfirmedHistory()
    for now_s in range(10):
        made.add(now_s, {"projects.0": 10, "projects.1": 20 if now_s > 4 else 0})
    assert made.lag(9, {"projects.0": 3, "projects.1": 15}) == Lag(12, 9)
    assert made.lag(9, {"projects.0": 10, "projects.1": 15}) == Lag(5, 4)


@given(st.lists(st.tuples(st.floats(0.1, 3), st.integers(0, 5_000)), min_size=1, max_size=60), st.data())
def test_a_consumer_further_on_never_lags_more(steps: list[tuple[float, int]], data: st.DataObject) -> None:
    made, now_s, confirmed = ConfirmedHistory(), 0.0, 0
    for pause_s, more in steps:
        now_s, confirmed = now_s + pause_s, confirmed + more
        made.add(now_s, {ONE: confirmed})
    behind = data.draw(st.integers(0, confirmed))
    further = data.draw(st.integers(behind, confirmed))
    larger, smaller = made.lag(now_s, {ONE: behind}), made.lag(now_s, {ONE: further})
    assert larger.events >= smaller.events >= 0
    assert larger.age_s >= smaller.age_s >= 0
    assert made.lag(now_s, {ONE: confirmed}) == Lag(0, 0)


def test_too_many_or_too_old_opens_at_once() -> None:
    assert judge(Alarm(), Lag(EVENTS_MAX + 1, 0), 0) == Alarm(open=True)
    assert judge(Alarm(), Lag(1, AGE_MAX_S + 1), 0) == Alarm(open=True)
    assert judge(Alarm(), Lag(EVENTS_MAX, AGE_MAX_S), 0) == Alarm()


def test_it_closes_when_it_was_calm_for_a_while_without_a_break() -> None:
    alarm = Alarm(open=True)
    for now_s, lag, is_open in [
        (0, Lag(500, 2), True), (1, Lag(50, 1), True), (4, Lag(500, 2), True), (5, Lag(0, 0), True),
        (9, Lag(0, 0), True), (10, Lag(0, 0), False),
    ]:  # fmt: skip
        alarm = judge(alarm, lag, now_s)
        assert alarm.open is is_open, now_s


@given(st.lists(st.builds(Lag, st.integers(0, 3_000), st.floats(0, 20)), max_size=50))
def test_it_never_opens_and_closes_within_the_calm(lags: list[Lag]) -> None:
    alarm, opened_at = Alarm(), None
    for now_s, lag in enumerate(lags):
        after = judge(alarm, lag, now_s)
        if after.open and not alarm.open:
            opened_at = now_s
        if alarm.open and not after.open:
            assert opened_at is not None
            assert now_s - opened_at >= 5
        alarm = after
