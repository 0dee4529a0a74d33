"""The homes of a checkout's systems: which there are, whose owner lives, and what is left of the dead."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import msgspec

from infra.fabric.process.system import System
from infra.machine import processes
from infra.topology.model import TopologyError


def homes(checkout: Path) -> list[Path]:
    """The homes of this checkout's systems, whether they run or not."""
    return sorted(path for path in (checkout / ".covenant").glob("*") if (path / "owner.json").exists())


def owner_alive(home: Path) -> bool:
    return processes.find(processes.read_record(home / "owner.json")) is not None


def end_owner(home: Path, within_s: float) -> None:
    """Ask the process that keeps a system running to stop it, and wait for its end; nothing happens without one."""
    owner = processes.find(processes.read_record(home / "owner.json"))
    if owner is not None:
        processes.send([owner], signal.SIGTERM)
        processes.wait_gone([owner], within_s)


def clean_up(checkout: Path) -> list[str]:
    """End what systems of this checkout left whose owner process is gone, and nothing else; their names."""
    cleaned = []
    for home in homes(checkout):
        if owner_alive(home):
            continue
        with suppress(FileNotFoundError, msgspec.MsgspecError, TopologyError):
            System.attach(home).stop()
        left = processes.of_home(home)
        processes.send(left, signal.SIGKILL)
        processes.wait_gone(left, 5)
        shutil.rmtree(home, ignore_errors=True)
        cleaned.append(home.name)
    return cleaned


def free_bytes(path: Path) -> int:
    """Bytes that an ordinary user can still write where `path` lies."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize
