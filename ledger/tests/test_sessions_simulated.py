"""A simulated store that keeps its word raises no alarm; each anomaly that is put in is found."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.sessions import Findings, Page, Record, check, state
from ledger.tests import injected
from ledger.tests.simulated_store import SOURCES, History, history

SEEDS = st.integers(0, 2**32)


def judged(story: History, records: list[Record] | None = None) -> Findings:
    return check(
        story.records if records is None else records, SOURCES, story.initial,
        complete=story.complete, keep_ns=story.keep_ns,
    )  # fmt: skip


@given(SEEDS, st.integers(1, 150))
@settings(max_examples=300)
def test_a_correct_history_raises_no_alarm(seed: int, operations: int) -> None:
    found = judged(history(seed, operations))
    assert found.sound, found.anomalies


@given(SEEDS)
def test_nor_does_it_when_sessions_are_soon_forgotten(seed: int) -> None:
    before = state.SWEEP_AT
    try:
        state.SWEEP_AT = 0
        assert judged(history(seed)).sound
    finally:
        state.SWEEP_AT = before


@pytest.mark.parametrize(("inject", "names"), injected.INJECTIONS, ids=[one.__name__ for one, _ in injected.INJECTIONS])
def test_each_anomaly_is_found_wherever_it_is(inject: injected.Inject, names: tuple[str, ...]) -> None:
    places = 0
    for seed in range(60):
        places += found_in(inject, names, seed)
    assert places > 10, "hardly a history has a place for it"


def found_in(inject: injected.Inject, names: tuple[str, ...], seed: int) -> bool:
    """Whether the history has a place for it; there it is found, at an item that it concerns."""
    story = history(seed)
    records = inject(story, random.Random(seed))
    if records is None:
        return False
    found = check(records, SOURCES, story.initial, complete=story.complete, examples=1_000)
    concerned = named_by(records, story.records) | named_by(story.records, records)
    assert any(one.kind in names and one.id in concerned for one in found.anomalies), (seed, found.totals)
    return True


def named_by(records: list[Record], but_not: list[Record]) -> set[str]:
    """The items of the records that the others are without, and the lists."""
    others = {id(record) for record in but_not}
    named: set[str] = set()
    for record in records:
        if id(record) in others:
            continue
        named |= {record.collection, *(one.id for one in record.items)} if isinstance(record, Page) else {record.id}
    return named


@pytest.mark.full
@pytest.mark.timeout(1_200)
def test_no_alarm_in_100_000_correct_histories() -> None:
    for seed in range(100_000):
        found = judged(history(seed))
        assert found.sound, (seed, found.anomalies)


@pytest.mark.full
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize(("inject", "names"), injected.INJECTIONS, ids=[one.__name__ for one, _ in injected.INJECTIONS])
def test_no_anomaly_is_missed_in_2_000_histories(inject: injected.Inject, names: tuple[str, ...]) -> None:
    assert sum(found_in(inject, names, seed) for seed in range(2_000)) > 400
