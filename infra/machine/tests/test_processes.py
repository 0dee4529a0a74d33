"""Processes that outlive their starter: recognised by pid and start time, ended with their children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from infra.machine import processes

PARENT_OF_ONE = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'], stdin=sys.stdin)"


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of a home `tmp_path`, with one child, both waiting for input."""
    child = subprocess.Popen(
        [sys.executable, "-c", PARENT_OF_ONE], stdin=subprocess.PIPE, env={**os.environ, processes.HOME: str(tmp_path)}
    )
    assert child.stdin is not None
    yield child
    processes.send(processes.tree(psutil.Process(child.pid)) if child.poll() is None else [], signal.SIGKILL)
    child.stdin.close()
    child.wait(10)


def wait_for_child(parent: psutil.Process) -> None:
    for _ in range(10_000):
        if parent.children():
            return
        os.sched_yield()
    pytest.fail("the child never came")


def test_record_finds_its_process_again(tmp_path: Path, parent: subprocess.Popen[bytes]) -> None:
    processes.write_record(tmp_path / "pid.json", processes.record(parent.pid))
    found = processes.find(processes.read_record(tmp_path / "pid.json"))
    assert found is not None
    assert found.pid == parent.pid


def test_another_process_with_the_same_pid_is_not_ours(parent: subprocess.Popen[bytes]) -> None:
    ours = processes.record(parent.pid)
    assert processes.find(msgspec.structs.replace(ours, created=ours.created - 60)) is None


def test_zombie_is_dead(parent: subprocess.Popen[bytes]) -> None:
    ours = processes.record(parent.pid)
    process = psutil.Process(parent.pid)
    processes.send(processes.tree(process), signal.SIGKILL)
    assert processes.wait_gone([process], 10) == []
    assert processes.find(ours) is None


def test_a_home_has_its_processes_and_their_children_alone(tmp_path: Path, parent: subprocess.Popen[bytes]) -> None:
    process = psutil.Process(parent.pid)
    wait_for_child(process)
    expected = {parent.pid, *(child.pid for child in process.children())}
    # Between fork and exec a child still shows its parent's environment; both are ours anyway.
    assert {found.pid for found in processes.of_home(tmp_path)} == expected
    assert processes.of_home(tmp_path / "other") == []


def test_a_missing_record_has_no_process(tmp_path: Path) -> None:
    assert processes.find(processes.read_record(tmp_path / "none.json")) is None
