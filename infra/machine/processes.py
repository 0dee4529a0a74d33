"""Processes that outlive their starter: each has a session of its own, is recorded on disk, and is ended together with
its descendants.

Every process of a system carries COVENANT_HOME in its environment. By that, and by the recorded pid and start time, a
later command recognises the processes of its own system.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec
import psutil

from infra.machine.waiting import until

HOME = "COVENANT_HOME"
RUN_ID = "COVENANT_RUN_ID"
KIND = "COVENANT_KIND"


class Record(msgspec.Struct, frozen=True):
    """A process as it was started; the start time distinguishes it from a later process with the same pid."""

    pid: int
    created: float
    """Seconds since the epoch."""
    wanted: bool = True
    """False once the harness has decided to end it for good: its death is planned, and no supervisor starts it
    again."""
    crashed: bool = False
    """True once the harness has decided to crash it: its death is planned, but a supervisor starts it again."""


def spawn(
    command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, so that a Ctrl-C at the terminal does not reach it."""
    return subprocess.Popen(
        command, env=dict(environment), cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        start_new_session=True, close_fds=True,
    )  # fmt: skip


def record(pid: int) -> Record:
    """The record of a running process. psutil.NoSuchProcess."""
    return Record(pid, psutil.Process(pid).create_time())


def own_record() -> Record:
    return record(os.getpid())


def write_record(path: Path, value: Record) -> None:
    """Write a record, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode(value))
    temporary.replace(path)


def read_record(path: Path) -> Record | None:
    """The record of a file; None if there is no such file. msgspec.MsgspecError if it is damaged."""
    with suppress(FileNotFoundError):
        return msgspec.json.decode(path.read_bytes(), type=Record)
    return None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the path's exclusive lock, which the kernel releases if this process dies. A process that takes the same
    lock twice waits for itself."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def find(value: Record | None) -> psutil.Process | None:
    """The recorded process; None if it has ended, which a zombie has."""
    if value is None:
        return None
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(value.pid)
        if abs(process.create_time() - value.created) < 0.05 and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def tree(process: psutil.Process | None) -> list[psutil.Process]:
    """A process and all its descendants; empty if it has ended."""
    if process is None:
        return []
    with suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to every process that has not ended."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def wait_gone(processes: Iterable[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Wait until all have ended, and reap our own children among them; the processes still alive at the deadline."""
    left = list(processes)

    def gone() -> bool | None:
        left[:] = [process for process in left if _is_alive(process)]
        return not left or None

    until(gone, timeout_s, every_s=0.02)
    return left


def is_stopped(process: psutil.Process) -> bool:
    """Whether a process is stopped (SIGSTOP)."""
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_STOPPED
    return False


def wait_stopped(processes: Iterable[psutil.Process], timeout_s: float) -> None:
    """Wait until all are stopped or have ended: a signal takes effect when its process is scheduled next."""
    waited_for = list(processes)
    until(lambda: all(is_stopped(each) or not _is_alive(each) for each in waited_for) or None, timeout_s, every_s=0.001)


def end(process: subprocess.Popen[bytes], within_s: float, number: signal.Signals = signal.SIGINT) -> bool:
    """End a child with a signal, and with SIGKILL if it has not ended within `within_s`; nothing if it has ended.
    False if it had to be killed."""
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(within_s)
            return False
    return True


def reap(pid: int) -> None:
    """Collect an ended child, so that it does not stay a zombie; does nothing for a process that is not our child."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def of_home(home: Path) -> list[psutil.Process]:
    """Every process with this home in its environment, except this process and its parents."""
    ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid not in ours and process.environ().get(HOME) == str(home):
                found.append(process)
    return found


def of_folder(folder: Path) -> list[psutil.Process]:
    """Every process that works in the folder or below it and was started with it as its HOME.

    PostgreSQL's processes overwrite their environment with their titles: once their postmaster is gone, only their
    working directory shows where they belong.
    """
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):  # noqa: PTH208 - hundreds of paths for a number
        with suppress(psutil.Error, OSError):
            # Much faster than psutil; every moment counts while an orphaned database takes writes.
            works_in = os.readlink(f"/proc/{pid}/cwd")  # noqa: PTH115
            if Path(works_in).is_relative_to(folder):
                process = psutil.Process(pid)
                if process.environ().get("HOME", str(folder)) == str(folder):
                    found.append(process)
    return found


def command_lines() -> Iterator[tuple[int, bytes]]:
    """(pid, command line) of every process of this machine; the line is empty if the process has just ended."""
    for process in psutil.process_iter():
        content = b""
        with suppress(OSError):
            content = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        yield process.pid, content


def open_file_limits(run_id: str, kind: str) -> list[int]:
    """The soft limit of open files of each process of one kind (COVENANT_KIND) of a system (COVENANT_RUN_ID)."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            environment = process.environ()
            if environment.get(RUN_ID) == run_id and environment.get(KIND) == kind:
                found.append(open_file_limit(Path(f"/proc/{process.pid}/limits").read_text()))
    return found


def open_file_limit(limits: str) -> int:
    """The soft limit of open files in the text of /proc/PID/limits."""
    line = next(line for line in limits.splitlines() if line.startswith("Max open files"))
    return int(line.split()[3])


def _is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        if process.status() != psutil.STATUS_ZOMBIE:
            return process.is_running()
        reap(process.pid)
    return False
