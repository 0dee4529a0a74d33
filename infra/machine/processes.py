"""Processes that outlive whoever started them: started apart, recorded on disk, ended with all that they
started.

Every process of a system carries COVENANT_HOME in its environment. That, with the recorded pid and start
time, is how a later process knows its own leftovers from everybody else's.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec
import psutil

HOME = "COVENANT_HOME"
RUN_ID = "COVENANT_RUN_ID"
KIND = "COVENANT_KIND"


class Record(msgspec.Struct, frozen=True):
    """A process as it was started; the start time tells it from a later one with the same pid."""

    pid: int
    created: float
    wanted: bool = True
    """False from the moment somebody of ours decides to end it for good: its death is then no surprise, and it stays
    dead until it is started again."""
    struck: bool = False
    """True from the moment somebody of ours makes it crash: its death is no surprise either, but a supervisor starts it
    again."""


def spawn(
    command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, so that a Ctrl-C at the terminal does not reach it."""
    return subprocess.Popen(
        command, env=dict(environment), cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        start_new_session=True, close_fds=True,
    )  # fmt: skip


def record(pid: int) -> Record:
    return Record(pid, psutil.Process(pid).create_time())


def own_record() -> Record:
    return record(os.getpid())


def write_record(path: Path, value: Record) -> None:
    beside = path.with_suffix(".tmp")
    beside.write_bytes(msgspec.json.encode(value))
    beside.replace(path)


def read_record(path: Path) -> Record | None:
    with suppress(FileNotFoundError):
        return msgspec.json.decode(path.read_bytes(), type=Record)
    return None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else holds the same path's lock meanwhile; the kernel gives it back if we die. Not to be taken twice."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def find(value: Record | None) -> psutil.Process | None:
    """The recorded process if it is still alive; a zombie is not."""
    if value is None:
        return None
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(value.pid)
        if abs(process.create_time() - value.created) < 0.05 and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def tree(process: psutil.Process | None) -> list[psutil.Process]:
    """A process and all that descend from it."""
    if process is None:
        return []
    with suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def wait_gone(processes: Iterable[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Wait until all have ended, reaping children of ours; those still alive at the deadline."""
    deadline = time.monotonic() + timeout_s
    left = list(processes)
    while True:
        left = [process for process in left if _is_alive(process)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)


def is_stopped(process: psutil.Process) -> bool:
    """Whether a process stands still by SIGSTOP."""
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_STOPPED
    return False


def wait_stopped(processes: Iterable[psutil.Process], timeout_s: float) -> None:
    """Wait until all stand still or have ended: a signal takes effect when its process is next scheduled."""
    deadline = time.monotonic() + timeout_s
    for process in processes:
        while not is_stopped(process) and _is_alive(process) and time.monotonic() < deadline:
            time.sleep(0.001)


def interrupt(process: subprocess.Popen[bytes], within_s: float) -> None:
    """End a child as Ctrl-C would, by force if that takes longer; nothing happens if it has ended."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(within_s)


def reap(pid: int) -> None:
    """Collect an ended child, so that it does not stay a zombie; anybody else's process is left alone."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def of_home(home: Path) -> list[psutil.Process]:
    """Every process that carries this home in its environment, but ourselves and our parents."""
    ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid not in ours and process.environ().get(HOME) == str(home):
                found.append(process)
    return found


def of_folder(folder: Path) -> list[psutil.Process]:
    """Every process that works in the folder or below it and was started with it as its HOME.

    PostgreSQL overwrites the environment of its processes with their titles: those have none left, and without their
    postmaster they are known by their working directory alone.
    """
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):  # noqa: PTH208 - hundreds of paths for a number
        with suppress(psutil.Error, OSError):
            # Much quicker than by way of psutil, which counts while an orphaned database takes writes.
            works_in = os.readlink(f"/proc/{pid}/cwd")  # noqa: PTH115
            if Path(works_in).is_relative_to(folder):
                process = psutil.Process(pid)
                if process.environ().get("HOME", str(folder)) == str(folder):
                    found.append(process)
    return found


def command_lines() -> Iterator[tuple[int, bytes]]:
    """Every process of this machine with its command line, which every user may read; empty if it has just ended."""
    for process in psutil.process_iter():
        content = b""
        with suppress(OSError):
            content = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        yield process.pid, content


def open_file_limits(run_id: str, kind: str) -> list[int]:
    """The soft limit of open files of every process of one kind of a system."""
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
