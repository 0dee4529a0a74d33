"""The guard: whatever is delivered, in any order and however often, each position is applied once, in order."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from system.events.consuming.guard import admit, ranges


@dataclass(frozen=True)
class At:
    position: int


def at(*positions: int) -> list[At]:
    return [At(position) for position in positions]


def test_consecutive_events_are_applicable_in_order() -> None:
    admission = admit(4, at(6, 5, 7))
    assert (admission.applicable, admission.duplicates, admission.held) == (at(5, 6, 7), [], [])
    assert admission.next_position == 8


def test_at_or_below_the_position_is_a_duplicate() -> None:
    admission = admit(4, at(4, 1, 5))
    assert (admission.applicable, admission.duplicates) == (at(5), at(1, 4))


def test_twice_in_one_batch_is_applied_once() -> None:
    admission = admit(0, at(1, 2, 1, 2))
    assert (admission.applicable, admission.duplicates) == (at(1, 2), at(1, 2))


def test_after_a_gap_everything_is_held() -> None:
    admission = admit(4, at(5, 7, 8))
    assert (admission.applicable, admission.held) == (at(5), at(7, 8))
    assert admission.next_position == 6


def test_a_skipped_position_is_applicable_once() -> None:
    admission = admit(6, at(3, 4, 3, 7, 9), {3, 5})
    assert (admission.applicable, admission.duplicates, admission.held) == (at(3, 7), at(3, 4), at(9))
    assert admission.next_position == 8


@given(st.lists(st.lists(st.integers(1, 30), max_size=20), max_size=30))
def test_any_deliveries_have_the_effect_of_a_prefix_once_each(batches: list[list[int]]) -> None:
    applied: list[int] = []
    for batch in batches:
        admission = admit(len(applied), at(*batch))
        assert sorted(admission.applicable + admission.duplicates + admission.held, key=lambda one: one.position) == at(
            *sorted(batch)
        )
        applied += [one.position for one in admission.applicable]
        assert admission.next_position == len(applied) + 1
    assert applied == list(range(1, len(applied) + 1))
    seen = {position for batch in batches for position in batch}
    assert set(applied) <= seen


@given(st.lists(st.lists(st.integers(1, 15), max_size=10), max_size=20), st.sets(st.integers(1, 10)))
def test_skipped_positions_are_replayed_once_each(batches: list[list[int]], skipped: set[int]) -> None:
    left = set(skipped)
    position = max(skipped, default=0)
    applied: list[int] = []
    for batch in batches:
        admission = admit(position, at(*batch), left)
        applied += [one.position for one in admission.applicable]
        left -= set(applied)
        position = admission.next_position - 1
    assert len(applied) == len(set(applied))
    assert {one for one in applied if one <= max(skipped, default=0)} <= skipped


@given(st.integers(1, 40), st.randoms())
def test_if_held_events_are_redelivered_everything_is_applied_in_the_end(count: int, random: object) -> None:
    waiting = list(range(1, count + 1)) * 2
    random.shuffle(waiting)  # type: ignore[attr-defined]
    applied: list[int] = []
    rounds = 0
    while waiting:
        batch, waiting = waiting[:7], waiting[7:]
        admission = admit(len(applied), at(*batch))
        applied += [one.position for one in admission.applicable]
        waiting += [one.position for one in admission.held]
        rounds += 1
        assert rounds < 1_000
    assert applied == list(range(1, count + 1))


def test_ranges_are_runs_without_a_gap() -> None:
    assert ranges([]) == []
    assert ranges(at(5, 6, 7)) == [(5, 7)]
    assert ranges(at(5, 7, 8)) == [(5, 5), (7, 8)]


@given(st.lists(st.integers(1, 50)))
def test_ranges_cover_each_position_as_often_as_it_was_given(positions: list[int]) -> None:
    covered = [position for first, last in ranges(at(*positions)) for position in range(first, last + 1)]
    assert covered == positions
