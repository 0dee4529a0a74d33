"""Makes a load: Locust as a subprocess, and afterwards one record of what its engines measured.

Locust patches the process that it is imported into, so it never is in here. Its exit code says whether the
load could be made, not whether the system was good: that is the verdict's business.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from infra import target as targets
from infra.machine.ports import free_port
from infra.machine.progress import Report, show_nothing
from infra.target import Target
from loadtests.display.progress import EndedEarly
from loadtests.engine import environment as child
from loadtests.locust_process import LoadError, Output, follow, tail
from loadtests.plan import PLAN, Plan, Scenario
from loadtests.recording.early import Gate
from loadtests.recording.tally import merge_parts, read_parts
from loadtests.request import CheckedRequest
from reports.evidence import RunFolder, TimelineEvent


def run(
    asked: CheckedRequest, *, folder: RunFolder, target_path: Path, gates: Sequence[Gate] = (),
    progress: Report = show_nothing,
) -> None:  # fmt: skip
    """Make a load and leave its evidence in `folder`; `progress(fraction, text)` about once a second. It ends early,
    and its record says so, as soon as one of `gates` can no longer hold.

    Where it was asked for, Locust's own page is served on a free port of loopback while the load runs; stderr gives its
    address. UsageError and NoTarget before anything is started, LoadError if the load could not be made. Interrupted
    (KeyboardInterrupt), it ends the engines, keeps what they had recorded, and raises on.
    """
    name = asked.scenario.name
    target = targets.read(target_path)
    with tempfile.TemporaryDirectory(prefix="covenant-load-") as scratch:
        work = Path(scratch)
        planned = asked.plan(folder=folder.path, work=work, target=target, target_path=target_path, gates=gates)
        log = folder.evidence / "load" / f"{name}.locust.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        process = _start_locust(planned, work, web=asked.web)
        output = Output(process, progress)
        try:
            with log.open("wb") as log_file:
                code = follow(output, planned.warmup_s + planned.duration_s, log_file)
        finally:
            collected = _collect(asked.scenario, planned, target, folder, output.ended_early)
        if code != 0 or not collected:
            raise LoadError(f"{name}: the load could not be made (exit code {code})\n{tail(log)}")


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
    environment = {**child.environment(planned.run_id), PLAN: str(plan_file)}
    return subprocess.Popen(
        # Locust reads options from the current folder, too.
        command, cwd=work, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def _collect(
    scenario: Scenario, planned: Plan, target: Target, folder: RunFolder, ended_early: EndedEarly | None
) -> bool:
    """Merge what the engines left into the scenario's record and those of the loads beside it; False if one has none
    that any generator left."""
    work = Path(planned.work)
    early = ""
    if ended_early is not None:
        early = f"after {ended_early.after_s:g} s of {planned.duration_s:g} s: {ended_early.why}"
        with folder.timeline() as timeline:
            timeline.add(
                TimelineEvent(at_ns=time.monotonic_ns(), kind="note", name=scenario.name, detail=f"ended early {early}")
            )
    found = [_record(planned, target, folder, scenario.name, work, early, requests=scenario.requests)]
    for name in scenario.beside:
        found.append(_record(planned, target, folder, f"{scenario.name}-{name}", work / name, early, requests=False))
    return all(found)


def _record(
    planned: Plan, target: Target, folder: RunFolder, name: str, work: Path, early: str, *, requests: bool
) -> bool:
    """Merge the parts in `work` into the record `name`; False if no generator left anything."""
    named = read_parts(work)
    parts = list(named.values())
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
    load = merge_parts(parts, scenario=name, warmup_s=planned.warmup_s, requests=requests, settings=settings)
    folder.write_load(msgspec.structs.replace(load, ended_early=early, engines=list(named)))
    return True
