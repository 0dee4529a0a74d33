"""When an experiment without actions of ours begins its fault: noted once, by Chaos Toolkit's own order of calls."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chaos import running
from chaos.handover import Facts, Fault
from commands.run import chaos_control
from infra.fabric.protocol import Fabric

PROBE = {"type": "probe", "name": "look"}
KILL = {"type": "action", "name": "kill it", "pauses": {"before": 30}}
AGAIN = {"type": "action", "name": "again"}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """The home of a system that was handed in."""
    system = cast(Fabric, SimpleNamespace(site=SimpleNamespace(path=tmp_path)))
    running.hand_in(system)
    yield tmp_path
    running._handed_in.clear()


def go_through(method: list[dict[str, Any]]) -> None:
    """As Chaos Toolkit does: hypothesis, method, rollbacks."""
    chaos_control.before_activity_control(AGAIN)
    chaos_control.before_method_control({})
    for step in method:
        chaos_control.before_activity_control(step)
    chaos_control.after_method_control({})
    chaos_control.before_activity_control(AGAIN)


def test_the_first_action_of_the_method_is_the_fault(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(running.EXPERIMENT, "lab")
    before_ns = time.monotonic_ns()
    go_through([PROBE, KILL, AGAIN])
    (fault,) = Facts(home).of("lab")
    assert isinstance(fault, Fault)
    assert fault.target == "kill it"
    assert before_ns + 30e9 <= fault.at_ns <= time.monotonic_ns() + 30e9, "after the pause that it begins with"


def test_a_method_without_an_action_has_no_fault(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(running.EXPERIMENT, "lab")
    go_through([PROBE])
    assert Facts(home).of("lab") == []


def test_actions_of_ours_note_their_fault_themselves(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(running.EXPERIMENT, raising=False)
    go_through([KILL])
    assert not (home / Facts(home).path).exists()
