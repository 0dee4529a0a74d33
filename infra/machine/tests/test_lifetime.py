"""A process that must not outlive its parent does not, however the parent ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil

CHILD = """
import os, signal, sys
from infra.machine.lifetime import end_with_parent
end_with_parent(int(sys.argv[1]))
print(os.getpid(), flush=True)
signal.pause()
"""
PARENT = """
import os, signal, subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())], start_new_session=True)
signal.pause()
"""


def test_it_ends_with_a_parent_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    child.wait(10)
    assert not child.is_running()


def test_it_ends_at_once_if_its_parent_has_ended_already() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(os.getpid() + 100_000)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "the process that started this one has ended" in done.stderr
