"""Ranges against sets, which are what they stand for."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.received import Arrivals
from reports.evidence.range_set import RangeSet, TooManyRanges

numbers = st.lists(st.integers(0, 60), max_size=80)


def _numbers(ranges: list[tuple[int, int]]) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


@given(numbers)
def test_a_range_set_holds_what_a_set_holds(added: list[int]) -> None:
    ranges, model = RangeSet(), set[int]()
    for number in added:
        assert ranges.add(number) == (number not in model)
        model.add(number)
    assert _numbers(list(ranges)) == model
    assert ranges.count == len(model)
    assert ranges.highest == max(model, default=None)
    assert all((number in ranges) == (number in model) for number in range(-1, 62))


@given(numbers)
def test_ranges_never_touch_each_other(added: list[int]) -> None:
    ranges = RangeSet()
    for number in added:
        ranges.add(number)
    found = list(ranges)
    assert all(first <= last for first, last in found)
    assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(found))


@given(numbers, st.integers(-5, 65), st.integers(-5, 65))
def test_missing_is_the_rest(added: list[int], first: int, last: int) -> None:
    ranges = RangeSet()
    for number in added:
        ranges.add(number)
    assert _numbers(list(ranges.missing(first, last))) == set(range(first, last + 1)) - set(added)


@given(numbers)
def test_taking_gives_every_number_once(added: list[int]) -> None:
    ranges, taken = RangeSet(), list[tuple[int, int]]()
    for number in dict.fromkeys(added):
        ranges.add(number)
        if number % 3 == 0:
            taken += ranges.take()
    taken += ranges.take()
    assert list(ranges) == []
    counted = [number for first, last in taken for number in range(first, last + 1)]
    assert sorted(counted) == sorted(set(added))


def test_acknowledgements_in_order_coalesce_into_one_span() -> None:
    ranges = RangeSet()
    for number in range(1000):
        ranges.add(number)
    assert ranges.take() == [(0, 999)]


def test_memory_has_a_limit() -> None:
    ranges = RangeSet(max_ranges=3)
    for number in (0, 2, 4):
        ranges.add(number)
    with pytest.raises(TooManyRanges):
        ranges.add(6)
    assert ranges.add(1)
    assert ranges.add(3)


@given(st.lists(st.tuples(st.integers(1, 2), st.integers(0, 15)), max_size=60))
def test_arrivals_tell_found_and_doubled_of_each_publisher(stored: list[tuple[int, int]]) -> None:
    arrivals = Arrivals()
    for sequence, (publisher, number) in enumerate(stored, 1):
        assert arrivals.add(sequence, publisher, number)
        assert not arrivals.add(sequence, publisher, number), "the same stream sequence is the same message"
    found = {(p, n) for p, first, last in arrivals.spans for n in range(first, last + 1)}
    doubled = {(p, n) for p, first, last in arrivals.doubled_spans for n in range(first, last + 1)}
    assert found == set(stored)
    assert doubled == {each for each in stored if stored.count(each) > 1}


def test_a_message_behind_a_higher_number_is_reordered() -> None:
    arrivals = Arrivals()
    for sequence, number in enumerate((0, 2, 1, 3), 1):
        arrivals.add(sequence, 1, number)
    arrivals.add(5, 2, 0)
    assert arrivals.reordered == 1
    assert arrivals.spans == [(1, 0, 3), (2, 0, 0)]


def test_what_is_not_of_this_load_is_counted_apart() -> None:
    arrivals = Arrivals()
    arrivals.add_foreign(1)
    arrivals.add_foreign(1)
    arrivals.add(2, 1, 0)
    assert arrivals.foreign == 1
    assert list(arrivals.sequences) == [(1, 2)]
