"""What a session writes before its phases. Starts nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from checks import access, data, points
from checks.security import audit_trail
from commands.nightly import stock
from commands.run import check_steps, expected
from commands.run.profiles import PROFILES
from commands.run.programme import CHECKS, SECRETS, Asked, Place, tonight
from commands.run.session import Session
from commands.run.tests.test_session import Pretended, session
from infra import target as targets
from infra.machine import interrupts
from loadtests.request import Request, check
from loadtests.tests.test_request import TOGETHER
from reports.evidence import RunFolder
from reports.evidence.fact_rows import FACT_ROWS
from reports.tests.synthetic_run import Story, run_record


def test_a_run_names_what_was_written_before_it_began(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    folder.write_own_slo("apiVersion: openslo/v1")
    found = expected.of_run(folder, run_record(Story()), ["data"])
    assert [file.path for file in found.files] == ["run.json", "timeline.jsonl", "host.jsonl", "slo.yaml"]
    assert found.run is not None
    assert (found.run.record.profile, found.run.phases) == ("smoke", ["data"])
    assert found.path == "expected/session.json"


def test_a_load_is_evidence_for_the_rows_of_its_profile(tmp_path: Path) -> None:
    targets.write(TOGETHER, tmp_path / "target.json")
    asked = check(Request(scenario="bus-ingest"))
    found = expected.of_load(asked, RunFolder(tmp_path / "run"), TOGETHER, tmp_path / "target.json")
    assert {"bus.publish_p99", "bus.exactly_once", "harness.honesty"} <= set(found.rows)
    assert (found.path, [load.engines for load in found.loads]) == (
        "expected/bus-ingest.json", [["subscriber", "publisher-1"]]
    )  # fmt: skip


@pytest.mark.parametrize("facts", [data.EXPECTED, points.EXPECTED, access.expected(), audit_trail.EXPECTED])
def test_checks_add_facts_to_rows_that_take_them(facts: dict[str, int]) -> None:
    found = expected.of_check("a check", facts)
    assert set(found.rows) == set(facts) <= FACT_ROWS
    assert all(count > 0 for count in facts.values())
    assert found.path == "expected/a-check.json"


def test_every_round_of_an_experiment_has_a_file_of_its_own(tmp_path: Path) -> None:
    names = [expected.of_check(name, {}).path for name in ("kill", "kill (2)", "kill.2", "planted kill")]
    assert len(set(names)) == len(names)


def test_a_check_is_declared_before_it_is_made(tmp_path: Path) -> None:
    seen: list[list[str]] = []
    with (
        interrupts.handled(lambda number, frame: None),
        session(RunFolder.create(tmp_path / "run"), Pretended()) as run,
    ):
        run.start()
        check_steps._check_if_judged(
            _judging(run), check_steps.COPIES,
            lambda system, folder: seen.append([each.phase for each in folder.expected()]), {"bus.replication": 20},
        )  # fmt: skip
    assert seen == [["copies"]]


def _judging(run: Session) -> Session:
    run.run.profile = "nightly"
    return run


def test_a_night_knows_its_phases() -> None:
    night = tonight(PROFILES["smoke"], stock(), Place("core", apart=True), datetime.now(UTC).date(), Asked())
    phases = night.phases()
    assert phases[: len(CHECKS)] == list(CHECKS)
    assert {"api-browse", "bus-ingest", "pg-primary-kill", "browser", SECRETS} <= set(phases)
    assert check_steps.judged("smoke") == ["data points", "parts"]
    legs = [leg.name for leg in night.pace()._legs]
    assert set(phases) <= set(legs), "each of them has the name that its phase has"
