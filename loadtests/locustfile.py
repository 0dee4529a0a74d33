"""What Locust runs: one user is one engine process, and Locust shows what the engines report.

Started by `loadtests/run.py` with the file of a `Plan` in COVENANT_LOAD_PLAN. Importing Locust patches the
process with gevent, so no load is made in here: engines are clean processes, and their statistics are merged
into Locust's a few times a second, for its web page, console and CSV (`loadtests/display/stats.py`). When every
engine has ended, so does Locust. It also ends when its stdin does, so that it cannot outlive the runner.

Without a plan this is a locustfile like any other, for Locust's own command and the system that `./covenant up` keeps
running: `locust -f loadtests/locustfile.py --headless -t 30s [--scenario NAME]`. Nothing is judged then.
"""

# Locust's decorators carry no types.
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import atexit
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent
import msgspec
from gevent.event import Event
from gevent.fileobject import FileObject
from locust import User, events, task
from locust.env import Environment
from locust.exception import StopUser
from locust.stats import CSV_STATS_INTERVAL_SEC

from infra import target as targets
from infra.target import NoTarget
from loadtests.display.progress import EndedEarly, Notice, Progress
from loadtests.display.stats import Shown
from loadtests.engine import environment as child
from loadtests.engine.process import START_DEADLINE_S, Ended, Go, Said
from loadtests.plan import PLAN, Engine, Plan
from loadtests.recording.early import EarlyEnd, Planned
from loadtests.recording.live import Stat
from loadtests.request import Request, UsageError, check, describe
from loadtests.scenarios import scenarios
from reports.evidence import RunFolder

_LEAD_NS = 200_000_000
"""From the word to begin until the first operation."""
_END_DEADLINE_S = 120.0
"""An engine drains and catches up with deadlines of its own, well below this."""
_PROGRESS_INTERVAL_S = 1.0
_POLL_S = 0.05
_KILL_S = 10.0
_EXIT_USAGE = 2
"""As the exit code of `./covenant` for wrong usage."""

_log = logging.getLogger("covenant.load")
_decode = msgspec.json.Decoder(Said).decode
_planned = os.environ.get(PLAN)
"""The plan's file; None under Locust's own command."""


class EngineProcess:
    """An engine that was started, and a greenlet that listens to it."""

    def __init__(self, engine: Engine, plan: Plan, show: Callable[[Stat], None]) -> None:
        self.planned: list[Planned] = []
        spec = Path(plan.work) / f"{engine.name}.spec.json"
        spec.write_bytes(msgspec.json.encode(engine.spec))
        self.name = engine.name
        self.ready = Event()
        self.error: str | None = None
        self._show = show
        self._process = subprocess.Popen(
            [*plan.enter.get(engine.region, []), sys.executable, "-m", engine.module, str(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._listener = gevent.spawn(self._listen)

    def begin(self, begin_ns: int) -> None:
        assert self._process.stdin is not None
        # One that has just ended is found out when its end is awaited.
        with suppress(BrokenPipeError):
            self._process.stdin.write(msgspec.json.encode(Go(begin_ns=begin_ns)) + b"\n")
            self._process.stdin.flush()

    def finish(self) -> None:
        """Let it end with what it has."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()

    def wait(self, timeout_s: float) -> None:
        """Until it has ended; it is killed if it does not in time."""
        try:
            code = self._process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=_KILL_S)
            self.error = f"did not end within {timeout_s:.0f} s and was killed"
            return
        self._listener.join(_KILL_S)
        if code != 0 and self.error is None:
            self.error = f"ended with exit code {code}"

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = _decode(line)
            if isinstance(said, Stat):
                self._show(said)
            elif isinstance(said, Ended):
                self.error = said.error
            else:
                self.planned = said.planned
                self.ready.set()
        if not self.ready.is_set():
            self.error = self.error or "ended before it was ready"
            self.ready.set()  # So that the wait for it ends.


class Fleet:
    """All engines of the run: observers first, then one generator a user; all begin at the same instant."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._scenario = scenarios()[plan.scenario]
        self.ended = Event()
        self._observing = Event()
        self._stopping = Event()
        self._observers: list[EngineProcess] = []
        self._generators: list[EngineProcess] = []
        self._users = 0
        self._begin_ns: int | None = None
        self._early = EarlyEnd(plan.gates)
        self._shown: Shown | None = None

    def offer(self) -> None:
        """One user: start a generator and see it end. More users than were planned offer nothing."""
        user, self._users = self._users, self._users + 1  # Before anything that lets another user run.
        if user >= self._plan.users:
            return
        generator = EngineProcess(self._scenario.generator(self._plan, user), self._plan, self._show)
        self._generators.append(generator)
        self.ended.wait()

    def drive(self, environment: Environment) -> None:
        """The whole run, then the end of this process."""
        self._shown = Shown(environment.stats)
        try:
            for observer in self._scenario.observers(self._plan):
                self._observers.append(EngineProcess(observer, self._plan, self._show))
            if self._wait_ready(self._observers, len(self._observers)):
                self._observing.set()
                if self._wait_ready(self._generators, self._plan.users):
                    self._begin()
            self._wait_ended()
        finally:
            self.ended.set()
        gevent.sleep(CSV_STATS_INTERVAL_SEC + _POLL_S)  # Locust's CSV writer looks once a second, and not at the end.
        environment.process_exit_code = 0 if self._log_errors() else 1
        signal.raise_signal(signal.SIGTERM)  # Locust's own way out, with its web page and without.

    def _show(self, stat: Stat) -> None:
        if self._shown is not None and self._begin_ns is not None:
            now_s = time.time()
            measured_ns = self._begin_ns + round(self._plan.warmup_s * 1e9)
            self._shown.add(stat, now_s, now_s - (time.monotonic_ns() - measured_ns) / 1e9)
        if not stat.warmup and not self._stopping.is_set() and (why := self._early.add(stat)):
            self._end_early(why)

    def _end_early(self, why: str) -> None:
        assert self._begin_ns is not None
        after_s = (time.monotonic_ns() - self._begin_ns) / 1e9 - self._plan.warmup_s
        _notify(EndedEarly(after_s=round(after_s, 1), why=why))
        self.stop()

    def stop(self) -> None:
        """Have the generators stop offering; what is under way is still awaited."""
        self._stopping.set()
        for engine in self._generators or self._observers:
            engine.finish()

    def wait_observing(self) -> None:
        """A generator has nothing to do before the observers watch."""
        gevent.wait([self._observing, self._stopping, self.ended], count=1)

    def _wait_ready(self, engines: list[EngineProcess], expected: int) -> bool:
        with gevent.Timeout(START_DEADLINE_S, False):
            while len(engines) < expected and not self._stopping.is_set():
                gevent.sleep(_POLL_S)
            for engine in engines:
                engine.ready.wait()
        ready = len(engines) == expected and all(each.ready.is_set() and not each.error for each in engines)
        return ready and not self._stopping.is_set()

    def _begin(self) -> None:
        for engine in (*self._observers, *self._generators):
            self._early.plan(engine.planned)
        self._begin_ns = time.monotonic_ns() + _LEAD_NS
        for engine in (*self._observers, *self._generators):
            engine.begin(self._begin_ns)

    def _wait_ended(self) -> None:
        """The generators end by themselves, or at once if the load never began; then the observers."""
        planned_s = 0.0
        if self._begin_ns is None:
            self.stop()
        else:
            planned_s = self._plan.warmup_s + self._plan.duration_s
        for generator in self._generators:
            generator.wait(planned_s + _END_DEADLINE_S)
        for observer in self._observers:
            observer.finish()
        for observer in self._observers:
            observer.wait(_END_DEADLINE_S)

    def _log_errors(self) -> bool:
        """Log what went wrong; True if nothing did."""
        problems = [f"{each.name}: {each.error}" for each in self._observers + self._generators if each.error]
        if self._begin_ns is None and not problems and not self._stopping.is_set():
            problems.append(f"expected every engine to be ready within {START_DEADLINE_S:.0f} s")
        for problem in problems:
            _log.error("%s", problem)
        return not problems

    def progress(self, environment: Environment) -> None:
        """Report to the runner how far it is, until the end."""
        while not self.ended.wait(_PROGRESS_INTERVAL_S):
            if self._begin_ns is None:
                continue
            planned_s = self._plan.warmup_s + self._plan.duration_s
            fraction = min(1.0, max(0.0, (time.monotonic_ns() - self._begin_ns) / 1e9 / planned_s))
            shown = [
                f"{each.name} {each.current_rps:,.0f}/s, median {each.median_response_time} ms"
                for each in environment.stats.entries.values()
            ]
            failed = environment.stats.total.num_failures
            text = "; ".join(shown[:2]) + (f"; {failed:,} failed" if failed else "")
            _notify(Progress(fraction=fraction, text=text))


def _notify(notice: Notice) -> None:
    """A line for the runner."""
    print(msgspec.json.encode(notice).decode(), flush=True)


_fleets: list[Fleet] = []
"""One, as soon as Locust has read its command line."""


class EngineUser(User):
    """One generator of the scenario."""

    @task
    def offer(self) -> None:
        _fleets[0].wait_observing()
        _fleets[0].offer()
        raise StopUser


@events.init_command_line_parser.add_listener
def _on_parser(parser: ArgumentParser, **_: Any) -> None:
    if _planned is None:
        parser.add_argument("--scenario", choices=list(scenarios()), default="api-browse", help="What load is made.")
        parser.add_argument("--rate", type=float, help=f"{describe('rate')} Default: the scenario's own.")


@events.init.add_listener
def _on_init(environment: Environment, **_: Any) -> None:
    if _planned is not None:
        _fleets.append(Fleet(msgspec.json.decode(Path(_planned).read_bytes(), type=Plan)))
        gevent.spawn(_end_with_stdin)
        return
    try:
        _fleets.append(Fleet(_own_plan(environment.parsed_options)))
    except (NoTarget, UsageError) as error:
        print(f"covenant: {error}", file=sys.stderr)
        sys.exit(_EXIT_USAGE)


def _own_plan(options: Any) -> Plan:
    """The plan of Locust's own command on the system that is running, written to a folder that goes with this process.
    NoTarget, UsageError.

    The options are adapted: there is a Locust user for each generator, and the load ends by its own schedule.
    """
    if options.master or options.worker or options.processes:
        raise UsageError("the load has processes of its own: leave out --master, --worker and --processes, use --users")
    target_path = Path(os.environ.get(targets.VARIABLE) or targets.UP / targets.FILE)
    target = targets.read(target_path)
    # Locust's run time is all of the load: no part of it is left out of the figures.
    warmup_s = 0.0 if options.run_time else None
    asked = check(
        Request(
            scenario=options.scenario,
            rate=options.rate,
            duration_s=options.run_time,
            warmup_s=warmup_s,
            users=options.num_users,
        )
    )
    scratch = Path(tempfile.mkdtemp(prefix="covenant-locust-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    folder = RunFolder.create(scratch / "run")
    work = scratch / "work"
    work.mkdir()
    plan = asked.plan(folder=folder.path, work=work, target=target, target_path=target_path)
    options.num_users = options.spawn_rate = plan.users
    options.run_time = None
    os.environ.update(child.environment(target.run_id))
    _log.info("for a verdict on this load: ./covenant load run %s", plan.scenario)
    return plan


@events.test_start.add_listener
def _on_start(environment: Environment, **_: Any) -> None:
    gevent.spawn(_fleets[0].drive, environment)
    if _planned is not None:
        gevent.spawn(_fleets[0].progress, environment)


@events.test_stopping.add_listener
def _on_stopping(environment: Environment, **_: Any) -> None:
    """The stop button, or the end."""
    _fleets[0].stop()


@events.quitting.add_listener
def _on_quitting(environment: Environment, **_: Any) -> None:
    """Whatever makes Locust end: the engines first write what they have."""
    _fleets[0].stop()
    _fleets[0].ended.wait(2 * _END_DEADLINE_S)


def _end_with_stdin() -> None:
    FileObject(sys.stdin.fileno(), "rb").read()
    _fleets[0].stop()
