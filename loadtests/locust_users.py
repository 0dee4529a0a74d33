"""A locustfile of the user's own under Locust, in a process of its own: `python -m loadtests.locust_users SPEC.json`.

Locust shows its own rounded statistics. What is recorded are the exact times that its request event gives, in HDR
histograms. Locust's users are a closed loop: each waits for its answer before it asks again. So a slow answer keeps
others from being sent, and what those would have waited is in no figure (coordinated omission).

It ends when its users' shape does, when the length is over, or when its stdin ends.
"""

# Locust's decorators carry no types.
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import gevent
import msgspec
from gevent.fileobject import FileObject
from locust import argument_parser, events, main
from locust import clients as locust_clients
from locust.env import Environment
from locust.runners import Runner
from locust.util.load_locustfile import load_locustfile

from infra.machine.spec import read_spec
from loadtests.display.progress import Progress
from loadtests.plan import LocustfileFound, LocustfileSpec
from loadtests.recording.tally import Part, PartSecond
from reports.evidence import Operation, Recorder
from reports.evidence.folder import write_record

_NS = 1_000_000_000
_PROGRESS_INTERVAL_S = 1.0
_NAMES_MAX = 200
"""Requests that are listed by their names; a name made of ids would fill the memory."""


class _Recording:
    """What the requests of a test came to, from its beginning to its end."""

    def __init__(self) -> None:
        self.begin_ns = time.monotonic_ns()
        self.ok = self.failed = 0
        self._operations: dict[str, Recorder] = defaultdict(Recorder)
        self._seconds: dict[int, Recorder] = defaultdict(Recorder)

    def add(self, name: str, response_ms: float | None, *, ok: bool) -> None:
        if name not in self._operations and len(self._operations) >= _NAMES_MAX:
            name = "other"
        second = self._seconds[(time.monotonic_ns() - self.begin_ns) // _NS]
        for recorder in (self._operations[name], second):
            if not ok:
                recorder.failed += 1
            elif response_ms is not None:
                recorder.record_us(round(response_ms * 1000))
        self.ok += ok
        self.failed += not ok

    def close(self) -> Part:
        end_ns = time.monotonic_ns()
        total = self.ok + self.failed
        return Part(
            measured_ns=self.begin_ns,
            end_ns=end_ns,
            offered_per_s=total * _NS / (end_ns - self.begin_ns),
            offered=total,
            sent=total,
            ok=self.ok,
            failed=self.failed,
            operations=[
                Operation(name=name, latencies=recorder.close()) for name, recorder in sorted(self._operations.items())
            ],
            seconds=[
                PartSecond(index=index, latencies=recorder.close()) for index, recorder in sorted(self._seconds.items())
            ],
        )


def _check(spec: LocustfileSpec) -> None:
    """Print what the file has. Whatever it raises ends the process, with its last line on stderr."""
    users, shapes = load_locustfile(spec.file)
    print(msgspec.json.encode(LocustfileFound(users=list(users), shape=bool(shapes))).decode(), flush=True)


def _run(spec: LocustfileSpec) -> None:
    recordings: list[_Recording] = []

    @events.request.add_listener
    def on_request(
        request_type: str, name: str, response_time: float | None, exception: BaseException | None, **_: Any
    ) -> None:
        if recordings:
            recordings[0].add(f"{request_type} {name}", response_time, ok=exception is None)

    @events.test_start.add_listener
    def on_start(environment: Environment, **_: Any) -> None:
        recordings.append(_Recording())
        gevent.spawn(_end_in_time, environment, spec.at_most_s)
        gevent.spawn(_end_with_stdin, environment)
        gevent.spawn(_progress, environment, spec.at_most_s)

    @events.quitting.add_listener
    def on_quitting(environment: Environment, **_: Any) -> None:
        if recordings:
            write_record(Path(spec.part), recordings[0].close())

    if spec.ca_file:
        # Locust's sessions read no settings of the environment; all of them share this.
        locust_clients._preloaded_ssl_context.load_verify_locations(spec.ca_file)
    users = [] if spec.users is None else ["--users", str(spec.users), "--spawn-rate", str(spec.users)]
    # A failed request is the verdict's business, not a load that could not be made.
    sys.argv = ["locust", "-f", spec.file, "--headless", "--host", spec.host, "--exit-code-on-error", "0", *users]
    main.main()  # type: ignore[no-untyped-call]


def _end_in_time(environment: Environment, at_most_s: float) -> None:
    gevent.sleep(at_most_s)
    _runner(environment).quit()


def _end_with_stdin(environment: Environment) -> None:
    FileObject(sys.stdin.fileno(), "rb").read()
    _runner(environment).quit()


def _runner(environment: Environment) -> Runner:
    assert environment.runner is not None, "a test has started"
    return environment.runner


def _progress(environment: Environment, at_most_s: float) -> None:
    begin = time.monotonic()
    while True:
        gevent.sleep(_PROGRESS_INTERVAL_S)
        total = environment.stats.total
        text = f"{_runner(environment).user_count} users, {total.current_rps:,.0f}/s, {total.num_failures:,} failed"
        fraction = min(1.0, (time.monotonic() - begin) / at_most_s)
        print(msgspec.json.encode(Progress(fraction=fraction, text=text)).decode(), flush=True)


def _no_files(parser: object, arguments: list[str]) -> list[Any]:
    return []


if __name__ == "__main__":
    # Locust reads options from the home and the current folder as well: only those that were asked for shall count.
    argument_parser.LocustArgumentParser._open_config_files = _no_files
    given = read_spec(LocustfileSpec)
    _check(given) if given.check else _run(given)
