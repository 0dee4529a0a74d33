"""What a subscriber has seen, against a model that keeps every number."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger.received import Arrivals


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
