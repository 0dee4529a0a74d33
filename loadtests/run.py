"""Runs a scenario: Locust as a subprocess, and afterwards one record of what its engines measured.

Locust patches the process that it is imported into, so it never is in here. Its exit code says whether the
load could be made, not whether the system was good: that is the verdict's business.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import BinaryIO

import msgspec

from infra import target as targets
from infra.machine.progress import Report
from infra.target import Target
from loadtests.arrivals.grammar import CONSTANT, arrival
from loadtests.arrivals.schedule import check_duration
from loadtests.display.progress import Progress
from loadtests.engine import environment as child
from loadtests.plan import MAX_USERS, Plan, Scenario
from loadtests.recording.tally import merge_parts, read_parts
from loadtests.scenarios import scenarios
from reports.evidence import RunFolder

_OVERHEAD_S = 300.0
"""Beyond the planned length: start, drain, catching up. Each has a shorter deadline of its own."""
_KILL_S = 10.0
_TAIL_LINES = 15


class UsageError(ValueError):
    """A scenario or an option that cannot be; one line, fit to be shown to a user."""


class LoadError(Exception):
    """The load could not be made; ends with the last lines of its log."""


def plan(
    name: str, *, folder: RunFolder, target_path: Path, work: Path, rate: float | None = None,
    duration_s: float | None = None, warmup_s: float | None = None, users: int | None = None, seed: int = 1,
    arrives: str | None = None, mode: str | None = None,
) -> Plan:  # fmt: skip
    """What `run` will do; None takes the scenario's own. UsageError for what cannot be."""
    scenario = check(
        name, rate=rate, duration_s=duration_s, warmup_s=warmup_s, users=users, arrives=arrives, mode=mode
    )  # fmt: skip
    asked = arrival(
        arrives or CONSTANT, rate=rate, usual_rate=scenario.rate, duration_s=duration_s, usual_s=scenario.duration_s
    )
    target = targets.read(target_path)
    apart = len(target.regions) if scenario.per_region and target.enter else 1
    if users is not None and users % apart:
        raise UsageError(f"users: expected a multiple of {apart}, as many in every region; found {users}")
    seen_from = targets.inside_path(target_path) if target.enter else target_path
    return Plan(
        scenario=name,
        folder=str(folder.path.resolve()),
        work=str(work),
        target=str(seen_from.resolve()),
        run_id=target.run_id,
        regions=target.regions,
        enter=target.enter,
        rate=asked.mean_rate,
        arrival=asked,
        duration_s=asked.duration_s,
        warmup_s=scenario.warmup_s if warmup_s is None else warmup_s,
        users=users or apart,
        seed=seed,
        mode=mode,
    )


def check(
    name: str, *, rate: float | None = None, duration_s: float | None = None, warmup_s: float | None = None,
    users: int | None = None, arrives: str | None = None, mode: str | None = None,
) -> Scenario:  # fmt: skip
    """The scenario, if it can be run with these options; UsageError otherwise. Starts nothing."""
    known = scenarios()
    if name not in known:
        raise UsageError(f"scenario: expected one of {', '.join(known)}; found {name!r}")
    try:
        arrival(
            arrives or CONSTANT, rate=rate, usual_rate=known[name].rate, duration_s=duration_s,
            usual_s=known[name].duration_s,
        )  # fmt: skip
        if warmup_s:
            check_duration(warmup_s, "warm-up")
    except ValueError as error:
        raise UsageError(str(error)) from None
    if users is not None and not 1 <= users <= MAX_USERS:
        raise UsageError(f"users: expected 1 to {MAX_USERS} (generator processes), found {users}")
    if arrives not in (None, CONSTANT) and not known[name].arrivals:
        raise UsageError(f"arrival: {name} offers one even rate, expected {CONSTANT}; found {arrives!r}")
    if mode is not None and mode not in known[name].modes:
        expected = (
            f"one of {', '.join(known[name].modes)}" if known[name].modes else f"none, {name} has no choice of it"
        )
        raise UsageError(f"mode: expected {expected}; found {mode!r}")
    return known[name]


def run(
    name: str, *, folder: RunFolder, target_path: Path, rate: float | None = None, duration_s: float | None = None,
    warmup_s: float | None = None, users: int | None = None, seed: int = 1, web: bool = False,
    arrives: str | None = None, mode: str | None = None, progress: Report,
) -> None:  # fmt: skip
    """Run a scenario and leave its evidence in `folder`; `progress(fraction, text)` about once a second.

    `rate` in the scenario's unit over all `users`, which are generator processes; `arrives` as `arrival_text` reads
    it. With `web`, Locust's own
    page is served on a free port of loopback while the load runs; stderr tells its address. UsageError before
    anything is started, NoTarget without a system, LoadError if the load could not be made. Interrupted
    (KeyboardInterrupt), it ends the engines, keeps what they had recorded, and raises on.
    """
    with tempfile.TemporaryDirectory(prefix="covenant-load-") as scratch:
        work = Path(scratch)
        planned = plan(
            name, folder=folder, target_path=target_path, work=work, rate=rate, duration_s=duration_s,
            warmup_s=warmup_s, users=users, seed=seed, arrives=arrives, mode=mode,
        )  # fmt: skip
        target = targets.read(target_path)
        log = folder.evidence / "load" / f"{name}.locust.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        process = _start_locust(planned, work, web=web)
        try:
            with log.open("wb") as log_file:
                code = _follow(process, planned, log_file, progress)
        finally:
            collected = _collect(planned, target, folder)
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
        port = _free_port()
        command += ["--web-host", "127.0.0.1", "--web-port", str(port), "--autostart"]
        print(f"Locust's page: http://127.0.0.1:{port}", file=sys.stderr, flush=True)
    else:
        command.append("--headless")
    # Locust takes options from its environment and from the current folder as well: only ours shall count.
    inherited = child.environment(planned.run_id).items()
    environment = {name: value for name, value in inherited if not name.startswith("LOCUST_")}
    environment["COVENANT_LOAD_PLAN"] = str(plan_file)
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
                if (told := _progress_of(line)) is not None:
                    progress(told.fraction, told.text)
                else:
                    log.write(line + b"\n")
                    log.flush()


def _progress_of(line: bytes) -> Progress | None:
    if not line.startswith(b'{"type":"Progress"'):
        return None
    with contextlib.suppress(msgspec.MsgspecError):
        return msgspec.json.decode(line, type=Progress)
    return None


def _collect(planned: Plan, target: Target, folder: RunFolder) -> bool:
    """Merge what the engines left into the scenario's record and those of the loads beside it; False if one has none
    that any generator left."""
    scenario = scenarios()[planned.scenario]
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
