"""Writes through the API: the ledger has each creation, and a change that was lost names itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from infra import target as targets
from ledger.contents import key_of, says
from loadtests import run as runner
from loadtests.clients.http import Response
from loadtests.clients.projects import judge_write
from loadtests.request import Request, check
from loadtests.tests.load_servers import Api
from reports.evidence import Load, RunFolder
from reports.evidence.write_names import DELETED, WriteName, read_name
from system.wire import PROJECTS, Project


def _run(api: Api, make_target: Callable[..., Path], folder: RunFolder) -> Load:
    asked = check(Request(scenario="api-write", rate=80, duration_s=1.5, warmup_s=0.5))
    runner.run(asked, folder=folder, target_path=make_target(api=api.url))
    (load,) = folder.loads()
    return load


def test_half_create_and_half_change_or_delete_and_the_ledger_has_every_write(
    api: Api, make_target: Callable[..., Path], tmp_path: Path
) -> None:
    folder = RunFolder.create(tmp_path / "run")
    load = _run(api, make_target, folder)
    assert (load.offered, load.sent, load.ok, load.requests) == (120, 120, 120, True)
    assert {(each.name, each.region, each.latencies.samples) for each in load.operations} == {
        ("api.write_p99", "iad", 60),
        ("api.write_p99", "ams", 60),
    }
    history = folder.write_history("api-write")
    assert [write.outcome for write in history].count("ok") == len(history) / 2, "once before it is sent, once after"
    names = {write.id: read_name(write.id) for write in history}
    assert {name for name, known in names.items() if known.version == 1} == set(api.created)
    assert api.changes == len(names) - len(api.created) == 160 - len(api.created) >= 60
    deleted = {write.id for write in history if write.says == DELETED}
    assert 10 <= len(deleted) <= 20
    there = set(api.projects) & set(api.created)
    assert there == set(api.created) - {names[name].project for name in deleted}
    key = key_of(targets.read(make_target(api=api.url)))
    acked = {write.id: write.state for write in history if write.outcome == "ok"}
    for project in there:
        made = msgspec.convert(api.projects[project], Project)
        last = str(WriteName(project, made.version, 1))
        assert acked[last] == f"{made.incarnation}-{made.version}"
        assert {write.says for write in history if write.id == last} == {says(made, key)}, "also before it was sent"


def test_a_change_that_was_acknowledged_and_lost_fails_the_next_one(
    api: Api, make_target: Callable[..., Path], tmp_path: Path
) -> None:
    folder = RunFolder.create(tmp_path / "run")
    api.forgetful = True
    load = _run(api, make_target, folder)
    assert load.failed > 0
    assert all("412" in failure.detail for failure in folder.load_failures("api-write"))


def test_a_write_that_is_refused_is_in_the_ledger_as_such(
    api: Api, make_target: Callable[..., Path], tmp_path: Path
) -> None:
    folder = RunFolder.create(tmp_path / "run")
    api.broken[PROJECTS] = 503
    load = _run(api, make_target, folder)
    assert (load.ok, load.unknown) == (0, 120)
    assert {write.outcome for write in folder.write_history("api-write")} == {None, "unknown"}


def test_only_a_refusal_says_that_nothing_was_done() -> None:
    outcomes = {
        status: judge_write(Response(status, b"", b""), expected=status == 201)[0]
        for status in (201, 200, 400, 408, 409, 412, 500, 503)
    }
    failed = {status for status, outcome in outcomes.items() if outcome == "fail"}
    assert failed == {400, 412}
    assert outcomes[201] == "ok"
    assert all(outcomes[status] == "unknown" for status in (200, 408, 409, 500, 503))
