"""From ranges to counts: lost and doubled effects, against a model that counts one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.target import Login, Target
from ledger.audit import doubt
from ledger.coverage import Event, coverage, parse_range, times_applied
from ledger.drain import behind
from ledger.looks import Sought, looks
from reports.evidence import Hop
from reports.findings import ledger
from reports.findings.contents import EVENTS, STATES
from system.wire import observer
from system.wire.observer import ConsumerInstance

ranges = st.lists(
    st.tuples(st.integers(1, 30), st.integers(0, 10)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=12
)


@given(ranges, st.lists(st.integers(1, 45), max_size=20))
def test_coverage_counts_the_ranges_around_each_position(known: list[tuple[int, int]], positions: list[int]) -> None:
    expected = {at: sum(first <= at <= last for first, last in known) for at in positions}
    assert coverage(known, positions) == expected


def test_effects_tell_lost_and_doubled_events_from_those_applied_once() -> None:
    events = {
        "once": Event("e1", "projects.0", 3),
        "doubled": Event("e2", "projects.0", 5),
        "lost": Event("e3", "projects.0", 9),
        "elsewhere": Event("e4", "projects.1", 5),
        "waiting": Event("e5", "projects.1", None),
    }
    applied = {"projects.0": [(1, 5), (5, 8)], "projects.1": [(4, 6)]}
    assert times_applied(events, applied) == {"once": 1, "doubled": 2, "elsewhere": 1}


def test_a_label_names_event_partition_and_position() -> None:
    assert Event("e1", "projects.2", 17).label() == "event e1, projects.2 position 17"
    assert Event("e1", "projects.2", None).label() == "event e1, projects.2 no position yet"


def test_a_trace_entry_is_first_and_last() -> None:
    assert parse_range("17-20") == (17, 20)
    for wrong in ("", "17", "20-17", "a-b"):
        with pytest.raises(ValueError, match=r"expected first-last|invalid literal"):
            parse_range(wrong)


def hop(**found: int) -> Hop:
    return Hop(client="x", hop="analytics", effect=True, found=found)


def test_a_write_that_is_missing_while_events_are_under_way_may_be_late() -> None:
    doubted = doubt(hop(a=1), {"a", "b"}, "3 events to be published")
    assert doubted.problem == "1 writes may be late, not lost: waited in vain for 3 events to be published"
    assert doubted.found == {"a": 1}


def test_a_hop_that_has_every_acknowledged_write_is_not_doubted() -> None:
    assert doubt(hop(a=2, b=1, unknown=1), {"a", "b"}, "3 events to be published").problem is None


def test_what_is_behind_is_told_by_consumer_and_partition() -> None:
    heads = {"projects.0": 7, "projects.1": 3, "users.2": 2}
    feed = ConsumerInstance("frontend-realtime", "ams")
    assert behind(feed, heads, {"projects.0": 7, "projects.1": 9, "users.2": 2}) is None
    told = behind(feed, heads, {"projects.0": 5, "projects.1": 3})
    assert told == "4 events to be applied by frontend-realtime in ams (projects.0, users.2)"


def test_effects_are_looked_for_at_every_consumer_and_the_report_knows_each_place() -> None:
    login = Login(user="", password="")
    target = Target(
        run_id="test", regions=["iad", "ams"], api={}, web={}, clients={}, nats=[], nats_load=login,
        nats_observer=login, observer_dsn="", replica_dsn={}, valkey={}, stream_replicas=3, durability="", security="",
    )  # fmt: skip
    everywhere = looks(target, Sought([], 0, b""), 0)
    places = {(look.hop, look.region) for look in everywhere if look.effect}
    assert {(one.name, one.region) for one in observer.instances(target.regions)} < places
    assert {("audit-log", None), ("feed", "iad"), ("feed", "ams")} < places
    assert {look.hop for look in everywhere} == set(ledger.PASSAGE)
    assert {look.hop for look in everywhere} >= {*STATES, *EVENTS}
