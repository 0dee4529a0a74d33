"""The search for a system's secrets where none may be: logs, command lines, evidence, files that other users may read.

A secret that is found is reported by its name and its place, never by its value.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from infra.fabric.protocol import Fabric
from infra.machine import processes
from infra.site.site import Site

PLACES = ("logs of the parts", "command lines", "the run's evidence", "files that others may read")
"""The kinds of place that are searched."""
_LONG_ENOUGH = 16
"""Shorter secrets could be found by chance; none of ours is shorter."""
_FILE_MAX_BYTES = 8 * 1024 * 1024
_DATA = {"data", "store"}
"""Folders of databases, which are not searched: they may hold secrets."""


def scan(system: Fabric, run_folder: Path) -> dict[str, list[str]]:
    """Kind of place -> `name in what` for each secret that is found there."""
    named = secrets_by_name(system.site)
    home = system.site.path
    logs = [*home.glob("*.log"), *home.glob("*/log"), *home.glob("*/*.log")]
    found = (
        in_files(named, logs),
        in_command_lines(named),
        in_files(named, _files(run_folder)),
        in_files(named, readable_by_others(home)),
    )
    return dict(zip(PLACES, found, strict=True))


def secrets_by_name(site: Site) -> dict[str, bytes]:
    """Name -> secret, for every secret of the system and the key of its authority."""
    found = {**site.secrets, **{f"client {name}": key for name, key in site.clients.items()}, "s3": site.s3_secret_key}
    held = {name: value.encode() for name, value in found.items() if len(value) >= _LONG_ENOUGH}
    key = site.path / "ca.key"
    if key.exists():
        held["key of the authority"] = key.read_bytes().splitlines()[1]
    return held


def in_files(named: Mapping[str, bytes], files: Iterable[Path]) -> list[str]:
    """`name in file` for each secret that a file holds in its first 8 MiB."""
    return [f"{name} in {file.name}" for file in files for name in _held(named, _content(file))]


def in_command_lines(named: Mapping[str, bytes]) -> list[str]:
    """`name in process` for each secret on a command line of this machine, which every user may read."""
    found = []
    for pid, command_line in processes.command_lines():
        found += [f"{name} in process {pid}" for name in _held(named, command_line)]
    return found


def readable_by_others(home: Path) -> Iterator[Path]:
    """The files of a home that other users could open; none if the home itself is closed to them."""
    if stat.S_IMODE(home.stat().st_mode) & 0o077 == 0:
        return
    for file in _files(home):
        if file.stat().st_mode & 0o044:
            yield file


def _files(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.is_dir() and not entry.is_symlink():
            if entry.name not in _DATA:
                yield from _files(entry)
        elif entry.is_file():
            yield entry


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(_FILE_MAX_BYTES)
    except OSError:
        return b""  # It was deleted meanwhile, or belongs to another user.


def _held(named: Mapping[str, bytes], content: bytes) -> list[str]:
    return [name for name, value in named.items() if value in content] if content else []
