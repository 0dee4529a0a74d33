"""The walk towards a gap: what it learns from where the freezes fell."""

from __future__ import annotations

import random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.faults.process.stride import STEP_MIN_S, Stride

_EVEN = 0.5
"""The chance that changes no length."""
lengths = st.floats(0.0003, 0.2)


def test_a_walk_begins_with_a_leap_and_goes_on_in_steps() -> None:
    stride = Stride(leap_s=0.008, step_s=0.002)
    assert stride.next_s(_EVEN) == 0.008
    assert stride.after(0.008, passed=False).next_s(_EVEN) == 0.002


def test_a_leap_over_the_gap_is_halved() -> None:
    assert Stride(leap_s=0.008).after(0.008, passed=True).next_s(_EVEN) == 0.004


def test_a_step_over_the_gap_is_shortened_and_the_next_leap_ends_before_it() -> None:
    walked = Stride(leap_s=0.008, step_s=0.002).after(0.008, passed=False).after(0.002, passed=False)
    learned = walked.after(0.002, passed=True)
    assert learned.next_s(_EVEN) == pytest.approx(0.8 * 0.010)
    assert learned.after(0.008, passed=False).next_s(_EVEN) == pytest.approx(0.8 * 0.002)


def test_a_walk_that_was_given_up_teaches_nothing() -> None:
    stride = Stride(leap_s=0.008, step_s=0.002)
    assert stride.after(0.5, passed=False).anew() == stride


@given(st.lists(st.tuples(lengths, st.booleans()), max_size=60), st.floats(0, 1))
def test_every_run_has_a_length_and_no_leap_is_longer_than_what_was_clear(
    runs: list[tuple[float, bool]], chance: float
) -> None:
    stride, clear = Stride(), Stride().leap_s
    for ran_s, passed in runs:
        clear = (stride.walked_s or stride.leap_s) if passed else clear
        stride = stride.after(ran_s, passed=passed)
        assert stride.next_s(chance) > 0
        assert stride.step_s >= STEP_MIN_S
        assert stride.leap_s <= clear


@given(lengths, st.floats(0, 1))
def test_a_walk_of_any_length_comes_to_its_end(length_s: float, chance: float) -> None:
    stride = Stride(step_s=STEP_MIN_S)
    for _ in range(100):
        stride = stride.after(stride.next_s(chance), passed=False)
    assert stride.walked_s > length_s


def _freezes_until_caught(gap_after_s: float, gap_s: float, dice: random.Random) -> int:
    """How many freezes it takes with a process that works between three quarters and five quarters of `gap_after_s`
    before each gap, and that the kernel gives a core for between half and all of each run."""
    stride, freezes, at_s = Stride(), 0, 0.0
    gap_at_s = gap_after_s * dice.uniform(0.75, 1.25)
    while freezes < 1000:
        freezes += 1
        ran_s = stride.next_s(dice.random())
        at_s += ran_s * dice.uniform(0.5, 1.0)
        if gap_at_s <= at_s < gap_at_s + gap_s:
            return freezes
        passed = at_s >= gap_at_s + gap_s
        stride = stride.after(ran_s, passed=passed)
        if passed:
            at_s, gap_at_s = 0.0, gap_after_s * dice.uniform(0.75, 1.25)
    return freezes


@pytest.mark.parametrize("gap_after_s", [0.001, 0.005, 0.020])
@pytest.mark.parametrize(("gap_s", "at_most"), [(0.0005, 40), (0.001, 30), (0.003, 25)])
def test_a_gap_of_any_place_is_found_in_a_few_freezes(gap_after_s: float, gap_s: float, at_most: int) -> None:
    found = [_freezes_until_caught(gap_after_s, gap_s, random.Random(seed)) for seed in range(300)]
    assert mean(found) <= at_most
    assert sorted(found)[296] <= 4 * at_most
