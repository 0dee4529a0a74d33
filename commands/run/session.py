"""One run: its folder, its system, its steps, and how it ends.

Whatever goes wrong, the run ends with its evidence on disk and nothing left running: a step that fails is
noted and the next one goes on; a system that does not start, a full disk and Ctrl-C end the run, each as
what it is.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from types import FrameType

from commands.run.pace import REPEATS_S, Pace
from infra.fabric.process.homes import free_bytes
from infra.fabric.process.system import System
from infra.fabric.protocol import Death, StartError
from infra.machine import interrupts, processes
from infra.machine.progress import Report, say, step
from reports.evidence import Run, RunFolder, TimelineEvent

_FREE_TO_GO_ON_BYTES = 256 * 1024**2
_BALLAST_BYTES = 16 * 1024**2
_WATCH_EVERY_S = 0.5


class StepFailed(Exception):
    """A step could not give its evidence; says why. The run goes on without it."""


class Aborted(Exception):
    """The run cannot go on: the disk is full."""


class Session:
    """Use as a context around the steps; afterwards `run.state` and `run.error` say how it ended."""

    def __init__(
        self,
        run: Run,
        folder: RunFolder,
        system: System,
        *,
        owned: bool,
        monitor: Sequence[str],
        heal: Callable[[System], None],
    ) -> None:
        """`owned`: the session starts and stops the system. `monitor` is the command of a process that
        records the machine until SIGTERM; `heal` reverts every open fault."""
        self.run = run
        self.folder = folder
        self.system = system
        self._owned = owned
        self._monitor_command = list(monitor)
        self._monitor: subprocess.Popen[bytes] | None = None
        self._heal = heal
        self._timeline = folder.timeline()
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self._abort_reason: str | None = None
        self._ballast = folder.path / ".ballast"
        self._running = True
        self.pace = Pace([], reserve_s=REPEATS_S)
        """What is planned: progress says which phase it is and how long all still takes."""
        self.repeated = 0
        """How often a phase was made again."""

    # The parts of a run.

    def note(self, kind: str, name: str, detail: str = "") -> None:
        self._timeline.add(TimelineEvent(at_ns=time.monotonic_ns(), kind=kind, name=name, detail=detail))  # type: ignore[arg-type]

    def skip(self, name: str, why: str) -> None:
        """A step that cannot be done on this machine: said in one line, kept as evidence."""
        say(f"{name}: skipped: {why}")
        self.note("skipped", name, why)

    @contextmanager
    def phase(self, name: str) -> Iterator[Report]:
        """One step. What breaks in it is noted, and the run goes on; only a full disk and a signal end the run."""
        with self._phase(name) as (progress, ended):
            try:
                yield progress
            except StepFailed as error:
                ended.append(self._failed(name, str(error)))
            except Aborted:
                raise
            except Exception as error:
                if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                    raise
                why = f"the harness failed: {type(error).__name__}: {error} ({self._keep_trace(error)})"
                ended.append(self._failed(name, why))

    @contextmanager
    def _phase(self, name: str) -> Iterator[tuple[Report, list[str]]]:
        """One step, from whose end on the run has what it gave: its progress, and a list for how it ended, if not
        well."""
        ended: list[str] = []
        self.note("phase_begin", name)
        self.pace.begin(name)
        try:
            with step(name) as progress:
                yield self._with_pace(progress), ended
        finally:
            self.pace.end(name)
            # Said twice, so that one line that is lost does not make it a good end.
            self.note("phase_end", name, "; ".join(ended))

    def _with_pace(self, progress: Report) -> Report:
        pace = self.pace
        if not pace.words():
            return progress
        progress(0.0, f"begins; {pace.words()}")
        return lambda fraction, text: progress(fraction, f"{text}; {pace.words()}")

    def _failed(self, name: str, why: str) -> str:
        say(f"{name}: failed: {why}")
        self.note("error", name, why)
        return f"failed: {why}"

    def _keep_trace(self, error: Exception) -> str:
        """Append to the traces of this run; the file's name."""
        place = self.folder.evidence / "traceback.txt"
        with place.open("a") as file:
            file.writelines(traceback.format_exception(error))
        return place.name

    # Its beginning and its end.

    def __enter__(self) -> Session:
        interrupts.handle(self._on_signal)
        self._ballast.write_bytes(b"\0" * _BALLAST_BYTES)
        self.folder.write_run(self.run)
        return self

    def start(self) -> None:
        """Start the system if it is ours, and the watch over it. StartError ends the run."""
        if self._owned:
            with self._phase("system") as (progress, _):
                self.system.start(progress)
        log = (self.folder.evidence / "host.log").open("wb")
        with log:
            self._monitor = processes.spawn(
                self._monitor_command,
                environment=os.environ,
                folder=self.folder.path,
                log=log,
            )
        self._watcher.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        # From here on a second Ctrl-C would only leave processes behind.
        interrupts.handle(_ignore)
        self._over.set()
        self._ballast.unlink(missing_ok=True)
        known = self._take_in(error)
        try:
            self.end_system()
        finally:
            self.run.finished_at = datetime.now(UTC).isoformat(timespec="seconds")
            self.folder.write_run(self.run)
            self._timeline.close()
            interrupts.raise_interrupt()
        return known

    # Inside.

    def _take_in(self, error: BaseException | None) -> bool:
        """Set the run's state by the exception that ended it. False: the exception is not ours to swallow."""
        match error:
            case None:
                self.run.state = "finished"
            case KeyboardInterrupt():
                self.run.state, self.run.error = "interrupted", "interrupted by a signal"
            case StartError():
                self.run.state, self.run.error = "not_started", str(error)
            case Aborted():
                self.run.state, self.run.error = "broken", str(error)
            case OSError() if error.errno == errno.ENOSPC:
                self.run.state, self.run.error = "broken", f"the disk is full ({error.filename or 'no file named'})"
            case Exception():
                self.run.state = "broken"
                kept = self._keep_trace(error)
                self.run.error = f"the harness failed: {type(error).__name__}: {error} ({kept})"
            case _:
                return False
        if error is not None:
            say(f"{self.run.error}: healing what is broken, keeping the evidence")
            self.note("error", "run", self.run.error or "")
        return True

    def end_system(self) -> None:
        """Heal, keep the logs, and stop the system if it is ours. What follows in this run has systems of its own.
        Nothing the second time."""
        if not self._running:
            return
        self._over.set()
        if self._watcher.is_alive():
            self._watcher.join(5)
        if self._monitor is not None:
            self._monitor.send_signal(signal.SIGTERM)
            try:
                self._monitor.wait(5)
            except subprocess.TimeoutExpired:
                self._monitor.kill()
                self._monitor.wait(5)
        try:
            if self.run.state != "not_started":
                self._heal(self.system)
            self.system.keep_logs(self.folder.evidence / "components")
        finally:
            if self._owned:
                say("stopping the system")
                self.system.stop()
                self.system.remove()
            self._running = False

    def _watch(self) -> None:
        seen: set[tuple[str, float]] = set()
        while not self._over.wait(_WATCH_EVERY_S):
            for death in self.system.deaths():
                if (death.part, death.created) not in seen and death.at_ns >= self.run.started_ns:
                    seen.add((death.part, death.created))
                    self._tell_death(death)
            free = free_bytes(self.folder.path)
            if free < _FREE_TO_GO_ON_BYTES:
                self._abort_reason = (
                    f"the disk is full: {free // 2**20} MiB left at {self.folder.path}, at least "
                    f"{_FREE_TO_GO_ON_BYTES // 2**20} MiB are needed to go on; free some and run again"
                )
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                return

    def _tell_death(self, death: Death) -> None:
        """Note a death; that the supervisor starts the part again changes nothing."""
        say(f"{death.part} died, and this run had not killed it")
        what = "the supervisor starts it again" if death.supervised else "nothing starts it again"
        self._timeline.add(
            TimelineEvent(at_ns=death.at_ns, kind="part_died", name=death.part, detail=f"ended unasked; {what}")
        )

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._abort_reason is not None:
            raise Aborted(self._abort_reason)
        raise KeyboardInterrupt


def undisturbed() -> AbstractContextManager[None]:
    """Say once more that it ends, and no more, where a signal asks for what is under way already."""
    return interrupts.handled(_ignore)


def _ignore(number: int, frame: FrameType | None) -> None:
    say("already stopping; this takes a few seconds")
