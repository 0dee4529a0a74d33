"""Our locustfile under Locust's own command, against a real HTTP server: no runner, no plan."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import loadtests.run
from infra import target as targets
from infra.machine.ports import free_port
from loadtests.tests.load_servers import Api

LOCUSTFILE = Path(loadtests.run.__file__).with_name("locustfile.py")


def locust(target_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", *arguments]
    return subprocess.run(
        command, env={**os.environ, targets.VARIABLE: str(target_path)}, cwd=target_path.parent,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_locusts_own_command_loads_the_running_system_for_its_run_time(
    api: Api, make_target: Callable[..., Path]
) -> None:
    done = locust(make_target(api=api.url), "-t", "1s", "--rate", "40")
    assert done.returncode == 0, done.stderr
    assert "40     0(0.00%)" in done.stderr.split("Shutting down")[1], "Locust's own table says what the engines did"
    assert sum(count for request, count in api.seen.items() if request.startswith("GET")) >= 40
    assert '"type":"Progress"' not in done.stdout, "those lines are for the runner"


def test_without_a_system_it_says_so_in_one_line(tmp_path: Path) -> None:
    done = locust(tmp_path / "no-such.json", "-t", "1s")
    assert done.returncode == 2
    (said,) = [line for line in done.stderr.splitlines() if "Starting Locust" not in line]
    assert said.startswith("covenant: no system is running")
    assert said.endswith("start one with ./covenant up --detach")


def test_a_load_that_cannot_be_is_refused_in_one_line(make_target: Callable[..., Path]) -> None:
    done = locust(make_target(), "-t", "1s", "--rate", "-5")
    assert (done.returncode, "covenant: rate: expected a number above 0" in done.stderr) == (2, True)
    done = locust(make_target(), "--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", str(free_port()))
    assert (done.returncode, "leave out --master, --worker and --processes" in done.stderr) == (2, True)
