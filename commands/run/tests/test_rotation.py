"""Any three nights in a row run everything that can fit, none takes longer than it may, and a date decides."""

from __future__ import annotations

import random
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.run.rotation import NIGHTS, Item, turns

MONDAY = date(2026, 11, 30)

lengths = st.lists(st.integers(1, 400).map(float), max_size=30)
budgets = st.integers(1, 2000).map(float)
days = st.dates(date(2024, 1, 1), date(2040, 1, 1))


def items_of(seconds: list[float]) -> list[Item]:
    return [Item(f"item-{number:02}", each) for number, each in enumerate(seconds)]


@given(lengths, budgets, days)
def test_three_nights_in_a_row_run_everything_that_has_a_turn(seconds: list[float], budget: float, day: date) -> None:
    items = items_of(seconds)
    shared = turns(items, budget)
    seen = {name for night in range(NIGHTS) for name in shared.tonight(day + timedelta(night))}
    assert seen | set(shared.never) == {item.name for item in items}
    assert not seen & set(shared.never)


@given(lengths, budgets, days, st.integers(0, 3))
def test_no_night_is_longer_than_its_budget(seconds: list[float], budget: float, day: date, fixed: int) -> None:
    items = items_of(seconds)
    always = [item.name for item in items[:fixed]]
    shared = turns(items, budget, always)
    of = dict(items)
    total = sum(of[name] for name in shared.tonight(day))
    assert total <= max(budget, sum(of[name] for name in always))
    assert shared.tonight(day)[: len(always)] == tuple(always)


@given(lengths, budgets)
def test_what_has_room_for_the_longest_besides_has_a_turn(seconds: list[float], budget: float) -> None:
    never = turns(items_of(seconds), budget).never
    if seconds and sum(seconds) <= NIGHTS * (budget - max(seconds)):
        assert never == ()


@given(lengths, budgets, days, st.randoms(use_true_random=False))
def test_the_order_of_declaration_changes_nothing(
    seconds: list[float], budget: float, day: date, dice: random.Random
) -> None:  # fmt: skip
    items = items_of(seconds)
    shuffled = list(items)
    dice.shuffle(shuffled)
    assert turns(items, budget).tonight(day) == turns(shuffled, budget).tonight(day)


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (MONDAY, ("kill", "a", "d")),
        (MONDAY + timedelta(1), ("kill", "b", "e")),
        (MONDAY + timedelta(2), ("kill", "a", "c")),  # Its group is c alone, and a is the one that ran longest ago.
        (MONDAY + timedelta(3), ("kill", "a", "d")),
    ],
)
def test_a_week_by_hand(day: date, expected: tuple[str, ...]) -> None:
    items = [Item(name, 40.0) for name in "abcde"] + [Item("kill", 20.0)]
    assert turns(items, 100.0, ["kill"]).tonight(day) == expected


def test_everything_runs_every_night_where_there_is_time() -> None:
    assert turns(items_of([10, 20, 30]), 60).tonight(MONDAY) == ("item-00", "item-01", "item-02")


def test_what_fits_into_no_night_is_named() -> None:
    shared = turns([Item("short", 10), Item("long", 90), Item("kill", 30)], 100, ["kill"])
    assert shared.never == ("long",)
    assert shared.tonight(MONDAY) == ("kill", "short")
