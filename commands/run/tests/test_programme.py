"""What a night runs, from a stock that is written down, and from the project's own."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from chaos.plants import Plant
from chaos.run.catalog import Info
from commands.nightly import stock
from commands.run.profiles import NEVER_ROTATE, PROFILES, Budgets
from commands.run.programme import REHEARSAL_S, Asked, Place, Programme, Stock, tonight
from loadtests.request import UsageError
from reports.policy.policy import load_policy

MONDAY = date(2026, 11, 30)
CORE = Place("core", apart=True)
NIGHT = PROFILES["nightly"]


def bug(name: str, takes_s: float = 120.0) -> Plant:
    return Plant(name=name, title="", kinds=(), red=(), may=(), command=("load", "run", "soak"), takes_s=takes_s)


MANY = Stock(
    experiments=[Info(name, "", 200.0) for name in ("a", "b", "c", "d", "e", "f", *NEVER_ROTATE)]
    + [Info("whole", "", 90.0, size="full"), Info("cut", "", 90.0, distance=True), Info("days", "", 4000.0)],
    suites=[f"test_{number}.py" for number in range(8)],
    bugs=[bug(f"bug-{number}") for number in range(6)],
)


def of(day: date = MONDAY, place: Place = CORE, **asked: object) -> Programme:
    return tonight(NIGHT, MANY, place, day, Asked(**asked))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["experiment", "suite", "planted bug"])
def test_three_nights_run_everything_that_fits(kind: str) -> None:
    nights = [of(MONDAY + timedelta(night)) for night in range(3)]
    left = [{each.name for each in night.left_out if each.kind == kind} for night in nights]
    assert all(left)
    assert set.intersection(*left) == ({"whole", "days"} if kind == "experiment" else set())


def test_what_has_no_turn_says_why() -> None:
    why = {each.name: each.why for each in of(place=Place("core", apart=False)).left_out}
    assert why["whole"] == "it needs the size full, and this run is of size core"
    assert why["cut"] == "it needs distance between regions, and there is none here"
    assert why["days"] == "it fits into no night"
    assert "its turn is another night" in why.values()


@pytest.mark.parametrize("night", range(4))
def test_two_experiments_never_rotate_and_come_first(night: int) -> None:
    programme = of(MONDAY + timedelta(night))
    assert tuple(each.name for each in programme.experiments[:2]) == NEVER_ROTATE


def test_the_date_decides_and_the_seed_does_not() -> None:
    assert of(seed=1).experiments == of(seed=2).experiments
    assert of() == of()


@pytest.mark.parametrize("only", ["load", "chaos", "e2e"])
def test_only_a_part_names_what_it_leaves_out_of_that_part_alone(only: str) -> None:
    programme = of(only=only)
    parts = {
        "load": bool(programme.loads), "chaos": bool(programme.experiments), "e2e": programme.browser is not None,
    }  # fmt: skip
    assert [name for name, there in parts.items() if there] == [only]
    assert programme.bugs == ()
    kinds = {"load": set(), "chaos": {"experiment"}, "e2e": {"suite"}}
    assert {each.kind for each in programme.left_out} == kinds[only]


def test_a_night_is_an_hour_and_a_longer_one_is_as_long_as_asked() -> None:
    assert sum(Budgets()) == 3600
    assert sum(Budgets().for_hours(3)) == pytest.approx(3 * 3600)
    assert Budgets().for_hours(1) == Budgets()


def test_a_longer_night_runs_more_of_everything() -> None:
    longer = of(hours=12)
    assert {each.name for each in longer.left_out} == {"whole"}
    assert longer.rounds > 1
    assert load_s(longer) == pytest.approx(Budgets().for_hours(12).load_s)
    assert sum(each.seconds for each in longer.experiments) * longer.rounds <= Budgets().for_hours(12).chaos_s


def load_s(programme: Programme) -> float:
    """What its loads take, with their rehearsal."""
    return sum(load.seconds + REHEARSAL_S * load.rehearsed for load in programme.loads)


def test_the_loads_of_a_night_take_their_budget() -> None:
    assert load_s(of()) == pytest.approx(Budgets().load_s)


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_every_profile_tries_a_load_before_its_loads(profile: str) -> None:
    programme = tonight(PROFILES[profile], stock(), CORE, MONDAY, Asked())
    assert any(load.rehearsed for load in programme.loads)


def test_the_machine_is_calibrated_around_the_highest_load_of_a_rate_alone() -> None:
    calibrates = {
        load.request.scenario.name: load.calibrated for load in of().loads if load.request.scenario.calibrates
    }
    assert calibrates == {"bus-ingest": False, "bus-throughput": True}


def test_every_phase_of_a_night_counts_in_its_pace() -> None:
    programme = of()
    # The system, three checks, the rehearsal and the secrets; then all that has its turn, the browser as one.
    phases = 6 + len(programme.loads) + len(programme.experiments) + 1 + len(programme.bugs)
    assert programme.pace().words().startswith(f"phase 1 of {phases}, about ")


def test_a_soak_is_one_load_of_the_length_asked_for() -> None:
    programme = tonight(PROFILES["soak"], MANY, CORE, MONDAY, Asked(duration_s=1800))
    (load,) = programme.loads
    assert (load.request.scenario.name, load.request.arrival.duration_s) == ("soak", 1800)
    assert (programme.experiments, programme.browser, programme.bugs, programme.left_out) == ((), None, (), ())
    with pytest.raises(UsageError, match="duration: expected seconds above 0"):
        tonight(PROFILES["soak"], MANY, CORE, MONDAY, Asked(duration_s=-1))


def test_smoke_is_what_it_was() -> None:
    programme = tonight(PROFILES["smoke"], stock(), CORE, MONDAY, Asked())
    assert [load.request.scenario.name for load in programme.loads] == ["api-browse", "bus-ingest"]
    assert [each.name for each in programme.experiments] == [*NEVER_ROTATE, "analytics-kill"]
    assert (programme.rounds, programme.browser, programme.bugs) == (1, ("-m", "smoke"), ())


def test_the_projects_own_night_offers_each_row_its_minimum() -> None:
    """What the loads offer by themselves; how much of it a machine takes is measured."""
    policy = load_policy()
    loads = {load.request.scenario.name: load.request.arrival for load in of().loads}
    writes = loads["api-write"].mean_rate * loads["api-write"].duration_s / 3
    assert writes >= policy.minimum_samples("api.write_p99")
    assert loads["bus-throughput"].duration_s >= policy.minimum_seconds("bus.throughput")
    assert loads["bus-fanout"].duration_s >= policy.minimum_seconds("bus.applied")
    requests = sum(loads[name].mean_rate * loads[name].duration_s for name in ("api-browse", "api-write"))
    assert requests >= policy.minimum_samples("availability")
    assert loads["bus-ingest"].mean_rate * loads["bus-ingest"].duration_s >= policy.minimum_samples("bus.delivery_p99")
