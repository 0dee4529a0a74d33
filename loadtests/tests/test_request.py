"""What can be asked of a load, and what is answered to everything else. Starts nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.target import Target
from loadtests.arrivals.schedule import MAX_DURATION_S
from loadtests.plan import MAX_USERS
from loadtests.request import Request, UsageError, check, describe
from loadtests.scenarios import called_after, scenarios
from loadtests.tests.load_servers import LOAD

REGIONS = ["iad", "ams", "syd"]


def _system(enter: Mapping[str, list[str]]) -> Target:
    return Target(
        run_id="r", regions=REGIONS, enter=dict(enter), api={}, web={}, clients={}, nats=[], nats_load=LOAD,
        nats_observer=LOAD, observer_dsn="", replica_dsn={}, valkey={}, stream_replicas=1, durability="", security="",
    )  # fmt: skip


APART = _system({region: ["enter", region] for region in REGIONS})
TOGETHER = _system({})


def test_a_scenario_decides_what_was_not_asked() -> None:
    for name, scenario in scenarios().items():
        found = check(Request(scenario=name))
        assert found.scenario is scenario
        assert (found.arrival.mean_rate, found.arrival.duration_s) == (scenario.rate, scenario.duration_s)
        assert (found.warmup_s, found.users, found.seed, found.mode, found.web) == (
            scenario.warmup_s, None, 1, None, False
        )  # fmt: skip


def test_what_was_asked_is_what_is_run() -> None:
    request = Request(
        scenario="bus-ingest", rate=50.0, duration_s=4.0, warmup_s=0.0, arrival="poisson", mode="fast", users=2,
        seed=7, web=True,
    )  # fmt: skip
    found = check(request)
    assert (found.arrival.text, found.arrival.random, found.arrival.points) == ("poisson", True, [(0, 50), (4, 50)])
    assert (found.warmup_s, found.mode, found.users, found.seed, found.web) == (0.0, "fast", 2, 7, True)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (Request(scenario="no-such"), "scenario: expected one of api-browse, api-write, "),
        (Request(scenario="api-browse", rate=0.0), "rate: expected"),
        (Request(scenario="api-browse", rate=float("nan")), "rate: expected"),
        (Request(scenario="api-browse", duration_s=-1.0), "duration: expected"),
        (Request(scenario="api-browse", duration_s=MAX_DURATION_S + 1), "duration: expected"),
        (Request(scenario="api-browse", warmup_s=-1.0), "warm-up: expected"),
        (Request(scenario="api-browse", arrival="sometimes"), "arrival: expected"),
        (Request(scenario="api-browse", arrival="ramp:1..2", rate=3.0), "rate: ramp says the rates itself"),
        (Request(scenario="connection-storm", arrival="poisson"), "arrival: connection-storm offers one even rate"),
        (Request(scenario="bus-ingest", mode="frames"), "mode: expected one of singles, atomic, fast; found 'frames'"),
        (
            Request(scenario="api-browse", mode="fast"),
            "mode: expected none, api-browse has no choice of it; found 'fast'",
        ),
        (Request(scenario="api-browse", users=0), "users: expected"),
        (Request(scenario="api-browse", users=MAX_USERS + 1), "users: expected"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(request_: Request, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        check(request_)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("scenario", "system", "usual"),
    [("api-browse", APART, 3), ("api-browse", TOGETHER, 1), ("bus-ingest", APART, 1)],
)
def test_where_regions_are_apart_each_has_as_many_users(scenario: str, system: Target, usual: int) -> None:
    assert check(Request(scenario=scenario)).users_on(system) == usual
    assert check(Request(scenario=scenario, users=6)).users_on(system) == 6


def test_users_that_cannot_be_shared_out_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^users: expected a multiple of 3, as many in every region; found 4$"):
        check(Request(scenario="api-browse", users=4)).users_on(APART)


def test_a_replay_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "rate.csv"
    file.write_text("0,10\n1,30\n")
    found = check(Request(scenario="api-browse", arrival=f"replay:{file}"))
    file.unlink()
    assert found.arrival.duration_s == 2.0


def test_every_field_is_described() -> None:
    assert all(describe(field) for field in Request.__struct_fields__)


def test_scenarios_are_listed_in_order_and_say_what_they_do() -> None:
    assert list(scenarios()) == sorted(scenarios())
    assert all(scenario.help for scenario in scenarios().values())


def test_a_scenario_that_was_copied_and_kept_its_name_is_named() -> None:
    soak = scenarios()["soak"]
    assert called_after("soak", soak) is soak
    with pytest.raises(
        ValueError, match=r'^loadtests/scenarios/long_soak.py: expected name="long-soak", found "soak"$'
    ):
        called_after("long_soak", soak)
