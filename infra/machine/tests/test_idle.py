"""What is left of the processors, as a process on a real machine finds it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from infra.machine.processes import KIND, RUN_ID

_LEFT = """
import os, sys
from infra.machine.idle import cores_left
if len(sys.argv) > 2:
    os.sched_setaffinity(0, {int(sys.argv[2])})
print(cores_left(sys.argv[1], 0.5))
"""


def left(run_id: str = "nobody", *core: int) -> float:
    """What a process of its own finds, on one core if that is given."""
    found = subprocess.run(
        [sys.executable, "-c", _LEFT, run_id, *map(str, core)], capture_output=True, text=True, check=True
    )
    return float(found.stdout)


@contextmanager
def busy(marks: dict[str, str]) -> Iterator[None]:
    """A program that keeps every core busy."""
    command = [sys.executable, "-c", "while True: pass"]
    programs = [subprocess.Popen(command, env=os.environ | marks) for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


@pytest.mark.parametrize("core", sorted(os.sched_getaffinity(0))[:1])
def test_a_process_that_may_use_one_core_has_no_more(core: int) -> None:
    assert 0 <= left("nobody", core) <= 1


def test_what_a_busy_program_takes_is_not_left() -> None:
    with busy({RUN_ID: "another", KIND: "load"}):
        assert left("ours") < 0.5 * len(os.sched_getaffinity(0))


def test_what_the_run_itself_takes_is_left_to_it() -> None:
    with busy({RUN_ID: "ours", KIND: "load"}):
        assert left("ours") > 2 * left("nobody")
