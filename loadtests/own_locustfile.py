"""Runs a locustfile of the user's own against a running system, and records what came of it as a closed loop."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from infra import target as targets
from infra.machine import surroundings
from infra.machine.progress import Report, show_nothing
from infra.site import clients
from infra.target import Target
from loadtests.arrivals.schedule import check_duration
from loadtests.engine import environment as child
from loadtests.locust_process import LoadError, Output, follow, tail
from loadtests.plan import LocustfileFound, LocustfileSpec
from loadtests.recording.tally import merge_parts, read_parts
from loadtests.request import UsageError
from reports.evidence import Load, RunFolder, percentile_ms

NAME = "locustfile"
"""The scenario's name in the evidence, and the profile's."""
TOKEN = "COVENANT_TOKEN"
"""The environment variable in which a locustfile finds a reader's bearer token."""
_USERS_MAX = 10_000
_USUAL_S = 60.0
_SHAPE_MAX_S = 4 * 3600.0
"""A load shape says itself when it ends; one that never does is ended then."""
_CHECKED_WITHIN_S = 60.0
_PERCENTILES = (50.0, 99.0, 99.9, 100.0)
_NAMES_SHOWN = 20


def check(file: Path, *, users: int | None, duration_s: float | None) -> LocustfileSpec:
    """What can be run of this file, apart from where. It is imported, in a process of its own. UsageError."""
    if users is not None and not 1 <= users <= _USERS_MAX:
        raise UsageError(f"users: expected 1 to {_USERS_MAX:,} (users of Locust), found {users}")
    try:
        if duration_s is not None:
            check_duration(duration_s)
    except ValueError as error:
        raise UsageError(str(error)) from None
    spec = LocustfileSpec(file=str(file.resolve()), check=True)
    found = _found(spec)
    if not found.users:
        raise UsageError(f"{file}: expected a class that is a Locust user (HttpUser and the like), found none")
    if found.shape and users is not None:
        raise UsageError(f"{file}: its load shape says how many users there are; leave --users out")
    usual_s = _SHAPE_MAX_S if found.shape else _USUAL_S
    return msgspec.structs.replace(
        spec, check=False, users=users if users or found.shape else 1, at_most_s=duration_s or usual_s
    )


def _found(spec: LocustfileSpec) -> LocustfileFound:
    with tempfile.TemporaryDirectory(prefix="covenant-locustfile-") as scratch:
        command = _command(spec, Path(scratch))
        try:
            done = subprocess.run(
                command, env=_environment("check", {}), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=_CHECKED_WITHIN_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise UsageError(f"{spec.file}: importing it did not end within {_CHECKED_WITHIN_S:.0f} s") from None
    try:
        # The file may print as well.
        return msgspec.json.decode(done.stdout.rstrip().rpartition("\n")[2], type=LocustfileFound)
    except msgspec.MsgspecError:
        last = (done.stderr.strip().splitlines() or ["it ended its process"])[-1]
        raise UsageError(f"{spec.file}: this is no locustfile: {last}") from None


def run(spec: LocustfileSpec, *, folder: RunFolder, target_path: Path, progress: Report = show_nothing) -> None:
    """Run it and leave its evidence in `folder`, against the API of the first region, from inside it. NoTarget before
    anything is started, LoadError if no load came of it. Interrupted, it keeps what was recorded, and raises on."""
    outside = targets.read(target_path)
    target = targets.read(targets.inside_path(target_path)) if outside.enter else outside
    region = target.regions[0]
    with tempfile.TemporaryDirectory(prefix="covenant-load-") as scratch:
        work = Path(scratch)
        ca_file = target.tls.ca_file if target.tls else ""
        host = (target.api_tls or target.api)[region]
        spec = msgspec.structs.replace(spec, host=host, ca_file=ca_file, part=str(work / f"{NAME}.part.json"))
        try:
            token = clients.token(outside, "reader", None)
        except clients.NoToken as error:
            raise LoadError(str(error)) from error
        log = folder.evidence / "load" / f"{NAME}.locust.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen(
            [*outside.enter.get(region, []), *_command(spec, work)],
            env=_environment(target.run_id, {TOKEN: token} | ({"SSL_CERT_FILE": ca_file} if ca_file else {})),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            with log.open("wb") as log_file:
                code = follow(Output(process, progress), spec.at_most_s, log_file)
        finally:
            load = _record(spec, work, target)
            if load is not None:
                folder.write_load(load)
        if code != 0 or load is None:
            raise LoadError(f"{spec.file}: no load came of it (exit code {code})\n{tail(log)}")


def _command(spec: LocustfileSpec, work: Path) -> list[str]:
    path = work / "spec.json"
    path.write_bytes(msgspec.json.encode(spec))
    # With -P the current folder does not take the place of our modules; Locust itself adds it, behind them.
    return [sys.executable, "-P", "-m", "loadtests.locust_users", str(path)]


def _environment(run_id: str, more: Mapping[str, str]) -> dict[str, str]:
    """The file may read variables of the caller's; Locust itself gets no option from them."""
    return surroundings.for_brought() | child.marks(run_id) | dict(more)


def _record(spec: LocustfileSpec, work: Path, target: Target) -> Load | None:
    """What was measured; None if no request was made."""
    parts = list(read_parts(work).values())
    if not any(part.sent for part in parts):
        return None
    settings = {
        "durability": target.durability,
        "security": target.security,
        "mode": "closed loop: response times leave out coordinated omission",
        "file": os.path.basename(spec.file),  # noqa: PTH119 - a name, not a path
    }
    load = merge_parts(parts, scenario=NAME, warmup_s=0.0, requests=True, settings=settings)
    slowest_first = sorted(load.operations, key=lambda each: percentile_ms(each.latencies, 99) or 0.0, reverse=True)
    shown = {
        each.name: ", ".join(
            f"{'max' if percent == 100 else f'p{percent:g}'} {percentile_ms(each.latencies, percent) or 0:.3f} ms"
            for percent in _PERCENTILES
        )
        + f" of {each.latencies.samples + each.latencies.failed:,}"
        for each in slowest_first[:_NAMES_SHOWN]
    }
    return msgspec.structs.replace(load, closed_loop=True, settings=settings | shown)
