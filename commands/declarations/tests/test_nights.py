"""What a night has no time for is named before any night."""

from __future__ import annotations

from chaos.plants import Plant
from chaos.run.catalog import Info
from commands.declarations import nights
from commands.run.profiles import Budgets, PlannedLoad, Profile
from commands.run.programme import Stock
from loadtests.request import Request

LOADS = (PlannedLoad(Request(scenario="api-browse")), PlannedLoad(Request(scenario="mixed-nightly"), filler=True))
NIGHT = Profile(loads=LOADS, experiments=("kill",), browser=(), budgets=Budgets())
BUG = Plant(name="late-ack", title="", kinds=(), red=(), may=(), command=(), takes_s=100)
KILL = Info("kill", "", 60.0)


def found(
    profile: Profile = NIGHT, experiments: list[Info] | None = None, bugs: list[Plant] | None = None
) -> list[str]:
    there = Stock([KILL] if experiments is None else experiments, ["test_offline.py"], bugs or [BUG])
    return list(dict.fromkeys(nights.problems_of("nightly", profile, there)))


def test_the_project_is_whole() -> None:
    assert nights.problems() == []


def test_a_night_with_time_for_everything_has_no_problem() -> None:
    assert found() == []


def test_what_fits_into_no_night_is_named_with_what_to_do() -> None:
    (problem, same_elsewhere) = found(experiments=[KILL, Info("days", "", 1021.0)])
    assert problem.startswith(
        "profile nightly: experiment days fits into none of three nights on a system of size core"
    )
    assert "set `takes_s` in the extension `covenant` of chaos/experiments/days.yaml" in problem
    assert same_elsewhere.startswith("profile nightly: experiment days fits into none of three nights on a system of")
    (problem, _) = found(bugs=[BUG._replace(takes_s=481)])
    assert "planted bug late-ack fits into none" in problem


def test_too_many_for_three_nights_are_named_by_those_that_are_too_much() -> None:
    many = [KILL] + [Info(f"cut-{number}", "", 500.0) for number in range(7)]
    assert [line.partition(" fits")[0] for line in found(experiments=many)] == [
        "profile nightly: experiment cut-6", "profile nightly: experiment cut-6",
    ]  # fmt: skip


def test_an_experiment_that_always_runs_has_to_be_there_and_to_fit() -> None:
    (problem,) = found(experiments=[])
    assert problem.startswith("profile nightly always runs 'kill', and no experiment is called so")
    (problem,) = found(experiments=[Info("kill", "", 2000.0)])
    assert problem.startswith("profile nightly: kill take longer than a night has")


def test_loads_that_leave_nothing_to_the_filler_are_named() -> None:
    long = (PlannedLoad(Request(scenario="api-browse", duration_s=2000)), LOADS[1])
    (problem,) = found(NIGHT._replace(loads=long))
    assert problem.startswith("profile nightly: its loads do not fit into 1020 s: duration: expected seconds above 0")
