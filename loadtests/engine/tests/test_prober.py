"""The prober against real servers, against nothing at all, and against what dies under it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Literal

import msgspec
import nats
import pytest

from infra import target as targets
from infra.target import Target
from loadtests.clients.sign_in import ApiClient
from loadtests.engine.prober import ProberSpec
from loadtests.tests.load_servers import DEADLINE_S, LOAD, Api, NatsServer, wait_until
from reports.evidence import ExpectedTrial, Experiment, Probe, RunFolder
from reports.evidence.closing import kept
from reports.findings.agreement import of_trial
from reports.findings.loaded import Trial
from system.wire import PROJECTS, PROJECTS_STREAM, TOKENS

PATIENT_S = 20.0
"""So long that a busy machine makes no success fail."""
HASTY_S = 0.5

ALL: list[Literal["read", "write", "publish", "effect"]] = ["read", "write", "publish", "effect"]


@contextmanager
def _probing(
    tmp_path: Path,
    target: Path,
    operations: list[Literal["read", "write", "publish", "effect"]],
    timeout_s: float = PATIENT_S,
) -> Iterator[RunFolder]:
    """A prober at work; it is ended in order afterwards."""
    folder = RunFolder.create(tmp_path / "run")
    spec = ProberSpec(
        folder=str(folder.path), experiment="x", target=str(target), operations=operations, timeout_s=timeout_s
    )
    file = tmp_path / "prober.json"
    file.write_bytes(msgspec.json.encode(spec))
    prober = subprocess.Popen([sys.executable, "-m", "loadtests.engine.prober", str(file)])
    try:
        yield folder
        assert "uvloop" not in Path(f"/proc/{prober.pid}/maps").read_text(), "its connections time out over TLS"
        prober.send_signal(signal.SIGTERM)
        assert prober.wait(DEADLINE_S) == 0
        _check_contract(folder)
    finally:
        prober.kill()
        prober.wait()


def _check_contract(folder: RunFolder) -> None:
    """Its probes are those of its schedule, its ledger has each write with the same end, and it has closed both."""
    record = Experiment(id="x", title="", target="", begin_ns=0, end_ns=2**62, chaos_status="completed")
    trial = Trial(name="x", record=record, probes=folder.probe_history("x"))
    expected = ExpectedTrial(
        name="x", experiment="x", places=sorted(_by_place(folder)), probe_hz=20.0, slo={}, steady=False
    )
    assert list(of_trial(trial, expected, folder.write_history("x"))) == []
    closed = kept(folder.evidence)
    assert {name: (each.writers, each.problem) for name, each in closed.items()} == {
        "chaos/x/probes.jsonl": (1, None), "ledger/x.jsonl": (1, None),
    }  # fmt: skip


def _by_place(folder: RunFolder) -> dict[tuple[str, str], list[Probe]]:
    places: dict[tuple[str, str], list[Probe]] = {}
    for probe in folder.probe_history("x"):
        places.setdefault((probe.region, probe.operation), []).append(probe)
    return places


def _outcomes(folder: RunFolder, operation: str) -> Counter[str]:
    return Counter(each.outcome for each in folder.probe_history("x") if each.operation == operation)


def test_reads_and_writes_succeed_and_every_write_is_in_the_ledger(
    api: Api, make_target: Callable[..., Path], tmp_path: Path
) -> None:
    with _probing(tmp_path, make_target(api=api.url), ["read", "write"]) as folder:
        wait_until(lambda: len(folder.probe_history("x")) >= 40, "40 probes")
    places = _by_place(folder)
    assert set(places) == {(region, each) for region in ("iad", "ams") for each in ("read", "write")}
    assert {probe.outcome for probe in folder.probe_history("x")} == {"ok"}
    history = folder.write_history("x")
    before = [write.id for write in history if write.outcome is None]
    after = [write.id for write in history if write.outcome == "ok"]
    assert len(before) == len(set(before)) == len(after)
    assert set(before) == set(after) == set(api.created)
    assert len(api.created) == api.seen[f"POST {PROJECTS}"]
    first = {write.id: write for write in reversed(history)}
    assert all(write.outcome is None for write in first.values()), "the intent stands before the outcome"


def test_it_keeps_to_its_instants_whatever_is_dead(api: Api, make_target: Callable[..., Path], tmp_path: Path) -> None:
    with _probing(tmp_path, make_target(api=api.url), ALL, HASTY_S) as folder:
        wait_until(lambda: api.seen[f"POST {PROJECTS}"] > 0, "the prober to be at work")
        api.die()
        already = len(folder.probe_history("x"))
        wait_until(lambda: len(folder.probe_history("x")) >= already + 90, "90 probes more")
    places = _by_place(folder)
    assert len(places) == 6
    for probes in places.values():
        assert all(later.at_ns - earlier.at_ns == 50_000_000 for earlier, later in pairwise(probes))
        assert all(probe.detail for probe in probes if probe.outcome != "ok")
    last = {operation: {each.outcome for each in probes[-5:]} for (_, operation), probes in places.items()}
    assert last == {"read": {"fail"}, "write": {"fail"}, "publish": {"fail"}, "effect": {"unknown"}}
    assert {"fail", "ok", None} <= {write.outcome for write in folder.write_history("x")}


def test_without_a_token_it_does_not_begin_and_says_so_in_one_line(
    make_target: Callable[..., Path], tmp_path: Path
) -> None:
    spec = tmp_path / "prober.json"
    asked = ProberSpec(folder=str(tmp_path), experiment="x", target=str(make_target()), operations=["read"])
    spec.write_bytes(msgspec.json.encode(asked))
    found = subprocess.run(
        [sys.executable, "-m", "loadtests.engine.prober", str(spec)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 1
    assert found.stderr.startswith(f"POST {TOKENS} as client: expected a token, found connection refused")
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize(("status", "outcome"), [(503, "unknown"), (409, "unknown"), (422, "fail")])
def test_only_a_refusal_says_that_a_write_did_not_happen(
    api: Api, make_target: Callable[..., Path], tmp_path: Path, status: int, outcome: str
) -> None:
    api.broken[PROJECTS] = status
    with _probing(tmp_path, make_target(api=api.url), ["write"]) as folder:
        wait_until(lambda: len(folder.probe_history("x")) >= 4, "4 probes")
    assert set(_outcomes(folder, "write")) == {outcome}
    assert {write.outcome for write in folder.write_history("x")} == {None, outcome}


def test_publishes_come_back_after_the_server_was_killed(
    nats_server: NatsServer, make_target: Callable[..., Path], tmp_path: Path
) -> None:
    _add_stream(nats_server)
    with _probing(tmp_path, make_target(nats=nats_server.url), ["publish"], HASTY_S) as folder:
        wait_until(lambda: _outcomes(folder, "publish")["ok"] >= 5, "publishes to succeed")
        nats_server.kill()
        wait_until(lambda: _outcomes(folder, "publish")["fail"] >= 1, "publishes to fail")
        before = _outcomes(folder, "publish")["ok"]
        nats_server.start()
        wait_until(lambda: _outcomes(folder, "publish")["ok"] >= before + 5, "publishes to succeed again")


def test_a_frozen_bus_leaves_a_publish_unknown(
    nats_server: NatsServer, make_target: Callable[..., Path], tmp_path: Path
) -> None:
    _add_stream(nats_server)
    with _probing(tmp_path, make_target(nats=nats_server.url), ["publish"], HASTY_S) as folder:
        wait_until(lambda: _outcomes(folder, "publish")["ok"] >= 5, "publishes to succeed")
        nats_server.signal(signal.SIGSTOP)
        wait_until(lambda: _outcomes(folder, "publish")["unknown"] >= 1, "a publish without an answer")
        before = _outcomes(folder, "publish")["ok"]
        nats_server.signal(signal.SIGCONT)
        wait_until(lambda: _outcomes(folder, "publish")["ok"] >= before + 5, "publishes to succeed again")


def _add_stream(server: NatsServer) -> None:
    async def add() -> None:
        client = await nats.connect(server.url, user=LOAD.user, password=LOAD.password)
        await client.jetstream().add_stream(name=PROJECTS_STREAM.name, subjects=PROJECTS_STREAM.subjects)
        await client.close()

    asyncio.run(add())


def test_no_operation_is_refused_in_one_line(make_target: Callable[..., Path], tmp_path: Path) -> None:
    spec = tmp_path / "prober.json"
    spec.write_bytes(
        msgspec.json.encode(ProberSpec(folder=str(tmp_path), experiment="x", target=str(make_target()), operations=[]))
    )
    found = subprocess.run(
        [sys.executable, "-m", "loadtests.engine.prober", str(spec)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 1
    assert found.stderr.startswith("operations: expected")
    assert found.stderr.count("\n") == 1


@pytest.mark.running
def test_all_four_operations_succeed_on_the_running_system(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "target.json"
    targets.write(target, path)
    folder: RunFolder | None = None
    try:
        with _probing(tmp_path, path, ALL) as folder:
            wait_until(lambda: len(folder.probe_history("x")) >= 600, "600 probes")
    finally:
        if folder is not None:
            asyncio.run(_delete(target, {write.id for write in folder.write_history("x")}))
    places = _by_place(folder)
    assert set(places) == {
        *((region, each) for region in target.regions for each in ("read", "write")),
        ("bus", "publish"),
        ("bus", "effect"),
    }
    for place, probes in places.items():
        # Whoever writes first over a long link waits for connections to be made; a slow machine leaves some unanswered.
        outcomes = Counter(probe.outcome for probe in probes[len(probes) // 2 :])
        assert outcomes["ok"] > outcomes["unknown"], place
        assert outcomes["fail"] == 0, place


async def _delete(target: Target, projects: set[str]) -> None:
    """Leave the shared system as it was."""
    client = ApiClient(target.api["iad"], target.clients["admin"])
    await client.sign_in()
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    for project in projects:
        answer = await client.request(b"DELETE", f"{PROJECTS}/{project}", deadline=deadline, headers={"If-Match": "*"})
        assert answer.status in (204, 404), answer
    await client.close()
