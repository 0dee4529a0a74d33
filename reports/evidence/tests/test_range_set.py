"""Ranges against sets, which are what they stand for."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


pairs = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda pair: (pair[0], sum(pair))), max_size=12)


@given(pairs)
def test_any_ranges_make_a_set(some: list[tuple[int, int]]) -> None:
    made = RangeSet(some)
    assert _numbers(list(made)) == _numbers(some)
    assert made.count == len(_numbers(some))
    assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(made))


@given(pairs, pairs)
def test_a_difference_is_that_of_sets(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> None:
    difference = RangeSet(left) - RangeSet(right)
    assert list(difference) == list(RangeSet((n, n) for n in _numbers(left) - _numbers(right)))


def test_a_range_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match=r"found 5\.\.4"):
        RangeSet([(5, 4)])
