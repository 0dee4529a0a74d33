"""The search, against systems that are simulated: with a knee, noisy ones, and ones that make no sense."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.arrivals.schedule import ScheduleError
from loadtests.search.knee import Search
from reports.evidence import StepOutcome

Try = tuple[float, StepOutcome]
rates = st.floats(1.0, 100_000.0)
resolutions = st.floats(0.02, 1.0)
outcomes: st.SearchStrategy[StepOutcome] = st.sampled_from(["held", "missed", "late", "disturbed"])


def _search(search: Search, system: Callable[[float], StepOutcome]) -> list[Try]:
    """Every try, in order."""
    tries: list[Try] = []
    while (rate := search.next()) is not None:
        outcome = system(rate)
        tries.append((rate, outcome))
        search.record(rate, outcome)
    assert search.next() is None, "the end is the end"
    return tries


def _with_knee(knee: float) -> Callable[[float], StepOutcome]:
    return lambda rate: "held" if rate <= knee else "missed"


def _in_doubt(tries: list[Try]) -> dict[float, list[StepOutcome]]:
    told: dict[float, list[StepOutcome]] = defaultdict(list)
    for rate, outcome in tries:
        told[rate].append(outcome)
    return told


@given(rates, st.floats(-4.0, 8.0), resolutions)
def test_the_interval_holds_the_knee_of_a_system_that_has_one(
    first: float, doublings: float, resolution: float
) -> None:
    knee = min(first * 2**doublings, 900_000.0)
    search = Search(first, resolution=resolution)
    tries = _search(search, _with_knee(knee))
    assert search.ended == "found"
    assert search.held is not None
    assert search.missed is not None
    assert search.held <= knee < search.missed
    # Three digits can keep a gap of 0.5% from being halved.
    assert search.missed <= search.held * (1 + max(resolution, 0.011))
    ways = abs(doublings) + 2 + math.ceil(math.log2(1 / math.log2(1 + resolution)) + 1)
    assert len(tries) <= 2 * ways + 2, "two tries a miss, and the held one again"


@given(rates, st.floats(-4.0, 6.0), st.data())
def test_one_wrong_outcome_at_each_rate_changes_nothing(first: float, doublings: float, data: st.DataObject) -> None:
    knee = min(first * 2**doublings, 400_000.0)
    lies: dict[float, int] = {}

    def noisy(rate: float) -> StepOutcome:
        if rate not in lies:
            lies[rate] = data.draw(st.integers(0, 4))
        lies[rate] -= 1
        true = rate <= knee
        return "held" if true != (lies[rate] == 0) else "missed"

    search = Search(first)
    tries = _search(search, noisy)
    if search.ended == "tries":
        return
    if search.ended == "below":
        assert knee < first / 16
        return
    assert search.ended == "found"
    assert search.held is not None
    assert search.missed is not None
    assert search.held <= knee < search.missed
    told = _in_doubt(tries)
    assert told[search.held].count("held") == 2
    assert told[search.missed].count("missed") == 2


@given(rates, resolutions, st.data())
def test_whatever_it_is_told_it_ends_and_claims_only_what_it_saw(
    first: float, resolution: float, data: st.DataObject
) -> None:
    most = data.draw(st.floats(first, 10 * first))
    search = Search(first, most, resolution)
    told = _in_doubt(_search(search, lambda rate: data.draw(outcomes)))
    assert all(first / 33 <= rate <= most for rate in told)
    assert sum(map(len, told.values())) <= 60
    if search.ended in ("found", "above") or (search.ended == "late" and search.held is not None):
        assert search.held is not None
        assert told[search.held].count("held") >= 2
        assert told[search.held].count("missed") < 2
    if search.ended in ("found", "late"):
        assert search.missed is not None
        assert search.held is None or search.held < search.missed
        upper = told[search.missed]
        assert upper.count("missed") >= 2 if search.ended == "found" else upper.count("late") >= 2
    if search.ended == "disturbed":
        assert any(each.count("disturbed") == 3 for each in told.values())
    assert all(each.count("disturbed") <= 3 for each in told.values())


def test_it_goes_up_by_doubling_and_then_halves_the_gap() -> None:
    tries = _search(Search(100.0, resolution=0.2), _with_knee(500.0))
    assert [rate for rate, _ in tries] == [100, 200, 400, 800, 800, 566, 566, 476, 476]
    assert [outcome for _, outcome in tries][-2:] == ["held", "held"], "what is given as held has held twice"


def test_a_first_rate_that_is_missed_is_left_downwards_to_a_32nd() -> None:
    search = Search(320.0)
    tries = _search(search, _with_knee(1.0))
    assert sorted({rate for rate, _ in tries}) == [10, 20, 40, 80, 160, 320]
    assert (search.ended, search.held, search.missed) == ("below", None, 10)


def test_the_highest_rate_allowed_can_hold() -> None:
    search = Search(100.0, 250.0)
    assert [rate for rate, _ in _search(search, _with_knee(1e9))] == [100, 200, 250, 250]
    assert (search.ended, search.held, search.missed) == ("above", 250, None)


def test_a_knee_of_the_generator_is_found_and_called_so() -> None:
    search = Search(100.0, resolution=0.5)
    _search(search, lambda rate: "held" if rate <= 300 else "late")
    assert (search.ended, search.held, search.missed) == ("late", 283, 400)


def test_a_generator_that_is_late_at_every_rate_says_nothing_of_the_system() -> None:
    search = Search(320.0)
    _search(search, lambda rate: "late")
    assert (search.ended, search.held, search.missed) == ("late", None, 10)


def test_a_machine_that_stays_disturbed_ends_the_search() -> None:
    search = Search(100.0)
    tries = _search(search, lambda rate: "held" if rate == 100 else "disturbed")
    assert tries == [(100, "held"), *[(200, "disturbed")] * 3]
    assert (search.ended, search.held) == ("disturbed", 100)


@pytest.mark.parametrize("outcome", ["inconclusive", "failed"])
def test_without_evidence_it_ends_at_once(outcome: StepOutcome) -> None:
    search = Search(100.0)
    assert len(_search(search, lambda rate: outcome)) == 1
    assert search.ended == outcome


@pytest.mark.parametrize(
    ("first", "most", "resolution"), [(0, 1, 0.1), (1, 0, 0.1), (2, 1, 0.1), (1, 2, 0), (1, 2, 1.5), (1, 2, math.nan)]
)
def test_what_cannot_be_searched_is_refused(first: float, most: float, resolution: float) -> None:
    with pytest.raises(ScheduleError):
        Search(first, most, resolution)
