"""Makes a load: Locust as a subprocess, and afterwards one record of what its engines measured.

Locust patches the process that it is imported into, so it never is in here. Its exit code says whether the
load could be made, not whether the system was good: that is the verdict's business.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import BinaryIO

import msgspec

from infra import target as targets
from infra.machine.ports import free_port
from infra.machine.progress import Report, show_nothing
from infra.target import Target
from loadtests.display.progress import Progress
from loadtests.engine import environment as child
from loadtests.plan import PLAN, Plan, Scenario
from loadtests.recording.tally import merge_parts, read_parts
from loadtests.request import CheckedRequest
from reports.evidence import RunFolder

_OVERHEAD_S = 300.0
"""Beyond the planned length: start, drain, catching up. Each has a shorter deadline of its own."""
_KILL_S = 10.0
_TAIL_LINES = 15


class LoadError(Exception):
    """The load could not be made; ends with the last lines of its log."""


def run(asked: CheckedRequest, *, folder: RunFolder, target_path: Path, progress: Report = show_nothing) -> None:
    """Make a load and leave its evidence in `folder`; `progress(fraction, text)` about once a second.

    Where it was asked for, Locust's own page is served on a free port of loopback while the load runs; stderr gives its
    address. UsageError and NoTarget before anything is started, LoadError if the load could not be made. Interrupted
    (KeyboardInterrupt), it ends the engines, keeps what they had recorded, and raises on.
    """
    name = asked.scenario.name
    target = targets.read(target_path)
    with tempfile.TemporaryDirectory(prefix="covenant-load-") as scratch:
        work = Path(scratch)
        planned = asked.plan(folder=folder.path, work=work, target=target, target_path=target_path)
        log = folder.evidence / "load" / f"{name}.locust.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        process = _start_locust(planned, work, web=asked.web)
        try:
            with log.open("wb") as log_file:
                code = _follow(process, planned, log_file, progress)
        finally:
            collected = _collect(asked.scenario, planned, target, folder)
        if code != 0 or not collected:
            raise LoadError(f"{name}: the load could not be made (exit code {code})\n{_tail(log)}")


def _start_locust(planned: Plan, work: Path, *, web: bool) -> subprocess.Popen[bytes]:
    plan_file = work / "plan.json"
    plan_file.write_bytes(msgspec.json.encode(planned))
    users = str(planned.users)
    csv = Path(planned.folder) / "evidence" / "load" / f"{planned.scenario}.locust"
    command = [sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("locustfile.py"))]
    command += ["--users", users, "--spawn-rate", users, "--loglevel", "INFO"]
    command += ["--csv", str(csv)]
    if web:
        port = free_port()
        command += ["--web-host", "127.0.0.1", "--web-port", str(port), "--autostart"]
        print(f"Locust's page: http://127.0.0.1:{port}", file=sys.stderr, flush=True)
    else:
        command.append("--headless")
    # Locust takes options from its environment and from the current folder as well: only ours shall count.
    inherited = child.environment(planned.run_id).items()
    environment = {name: value for name, value in inherited if not name.startswith("LOCUST_")}
    environment[PLAN] = str(plan_file)
    return subprocess.Popen(
        command, cwd=work, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def _follow(process: subprocess.Popen[bytes], planned: Plan, log: BinaryIO, progress: Report) -> int:
    """Its exit code, when it has ended; it is asked to end early on an interrupt and killed at the deadline."""
    deadline = time.monotonic() + planned.warmup_s + planned.duration_s + _OVERHEAD_S
    progress(0.0, "starting")
    try:
        _read_output(process, deadline, log, progress)
    finally:
        # The end of its stdin is what ends Locust and its engines, in order and with their evidence.
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        _read_output(process, min(deadline, time.monotonic() + _OVERHEAD_S), log, progress)
        try:
            process.wait(timeout=_KILL_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=_KILL_S)
        assert process.stdout is not None
        process.stdout.close()
    progress(1.0, "done")
    return process.returncode


def _read_output(process: subprocess.Popen[bytes], deadline: float, log: BinaryIO, progress: Report) -> None:
    """Read what Locust prints, until it closes its output or the deadline passes."""
    assert process.stdout is not None
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left_s := deadline - time.monotonic()) > 0:
            if not selector.select(timeout=left_s):
                continue
            data = os.read(process.stdout.fileno(), 65_536)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if (seen := _progress_of(line)) is not None:
                    progress(seen.fraction, seen.text)
                else:
                    log.write(line + b"\n")
                    log.flush()


def _progress_of(line: bytes) -> Progress | None:
    if not line.startswith(b'{"type":"Progress"'):
        return None
    with contextlib.suppress(msgspec.MsgspecError):
        return msgspec.json.decode(line, type=Progress)
    return None


def _collect(scenario: Scenario, planned: Plan, target: Target, folder: RunFolder) -> bool:
    """Merge what the engines left into the scenario's record and those of the loads beside it; False if one has none
    that any generator left."""
    work = Path(planned.work)
    found = [_record(planned, target, folder, scenario.name, work, requests=scenario.requests)]
    for name in scenario.beside:
        found.append(_record(planned, target, folder, f"{scenario.name}-{name}", work / name, requests=False))
    return all(found)


def _record(planned: Plan, target: Target, folder: RunFolder, name: str, work: Path, *, requests: bool) -> bool:
    """Merge the parts in `work` into the record `name`; False if no generator left anything."""
    parts = read_parts(work)
    if not any(part.offered_per_s for part in parts):
        return False
    problems = [problem for part in parts for problem in part.problems]
    settings = {
        "durability": target.durability,
        "security": target.security,
        "stream_replicas": str(target.stream_replicas),
        "generators": str(planned.users),
        "arrival": planned.arrival.text,
        "clients": "inside the regions" if planned.enter else "on this machine, without distance",
    }
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        settings["notes"] = "; ".join(problems[:3]) + more
    folder.write_load(
        merge_parts(parts, scenario=name, warmup_s=planned.warmup_s, requests=requests, settings=settings)
    )
    return True


def _tail(log: Path) -> str:
    with log.open(encoding="utf-8", errors="replace") as file:
        return "".join(deque(file, maxlen=_TAIL_LINES)).rstrip()
