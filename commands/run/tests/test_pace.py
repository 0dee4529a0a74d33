"""Where a run is and how long it still takes, on a clock that the test sets."""

from __future__ import annotations

import pytest

from commands.run.pace import REPEATS, Leg, Pace


class Watch:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


LEGS = [Leg("system", "start", 60), Leg("api-browse", "load", 120), Leg("kill", "chaos", 90), Leg("cut", "chaos", 90)]


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_it_says_which_phase_and_how_long_all_still_takes(watch: Watch) -> None:
    pace = Pace(LEGS, clock=watch)
    assert pace.words() == "phase 1 of 4, about 6 min left"
    pace.begin("system")
    watch.now += 45
    pace.end("system")
    pace.begin("api-browse")
    watch.now += 30
    assert pace.words() == "phase 2 of 4, about 4 min left"  # 90 s of its own, and 180 s.


def test_a_phase_that_takes_longer_than_planned_adds_nothing(watch: Watch) -> None:
    pace = Pace(LEGS, clock=watch)
    pace.begin("kill")
    watch.now += 500
    assert pace.words() == "phase 3 of 4, about 2 min left"


def test_what_was_not_planned_changes_nothing(watch: Watch) -> None:
    pace = Pace(LEGS, clock=watch)
    pace.begin("browser")
    pace.end("browser")
    assert pace.words() == "phase 1 of 4, about 6 min left"


def test_the_last_minute_hours_and_the_end_in_words(watch: Watch) -> None:
    pace = Pace([Leg("soak", "load", 4 * 3600 + 300)], clock=watch)
    assert pace.words() == "phase 1 of 1, about 4 h 05 min left"
    pace.begin("soak")
    watch.now += 4 * 3600 + 250
    assert pace.words() == "phase 1 of 1, less than a minute left"
    pace.end("soak")
    assert pace.words() == ""


def test_a_budget_is_kept_but_for_the_reserve_which_all_share(watch: Watch) -> None:
    pace = Pace(LEGS, {"load": 100, "chaos": 180}, reserve_s=30, clock=watch)
    assert pace.has_time_for("chaos", 210)
    assert not pace.has_time_for("chaos", 211)
    pace.begin("api-browse")
    watch.now += 120  # 20 more than its kind has.
    pace.end("api-browse")
    assert pace.has_time_for("chaos", 190)
    assert not pace.has_time_for("chaos", 191)
    pace.begin("kill")
    watch.now += 100
    pace.end("kill")
    assert pace.has_time_for("chaos", 90)
    assert not pace.has_time_for("chaos", 91)


def test_what_has_no_budget_always_has_time() -> None:
    assert Pace(LEGS).has_time_for("chaos", 1e9)


def test_a_repeat_pays_from_what_is_left_of_the_reserve(watch: Watch) -> None:
    pace = Pace(LEGS, {"load": 100, "chaos": 180}, reserve_s=150, clock=watch)
    pace.begin("api-browse")
    watch.now += 120  # 20 more than its kind has.
    pace.end("api-browse")
    assert pace.left_s(REPEATS) == 130
    pace.insert(Leg("api-browse, try 2", REPEATS, 120))
    assert pace.words() == "phase 3 of 5, about 5 min left"
    pace.begin("api-browse, try 2")
    watch.now += 120
    pace.end("api-browse, try 2")
    assert pace.left_s(REPEATS) == 10
    assert not pace.has_time_for("chaos", 191), "what repeats took is missing from the reserve"
    assert pace.words() == "phase 4 of 5, about 3 min left"
