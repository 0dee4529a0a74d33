"""Which files of a run were closed in order, with how much in them (`evidence/closed.jsonl`).

Whoever has written a file says so when it is done: a writer that was killed says nothing, and a file that was cut,
emptied or altered afterwards is no longer what was closed. A list may have several writers at a time, so each of them
closes what is its own: how many lines, and the sum, modulo 2**256, of the SHA-256 of each line with the offset that it
stands at. The sums of all writers together are that of the file, in whatever order their lines mix.
"""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

CLOSED = "closed.jsonl"
_MODULUS = 1 << 256
_LIST = ".jsonl"
_EVIDENCE = (
    "run.json", "preflight.json", "slo.yaml", "left-out.json", "repeated-before.json", "load/*.json",
    "rehearsal/*.json", "calibration/*.json", "chaos/*/experiment.json", "hops/*.json", "e2e/session.json",
    "knee/*.json", "tries/*.json", "planted/*.json", "expected/*.json",
    "consistency/*.json", "sessions/*.jsonl",
    "timeline.jsonl", "host.jsonl", "facts.jsonl", "load/*.failures.jsonl", "chaos/*/probes.jsonl", "ledger/*.jsonl",
    "e2e/tests.jsonl",
)  # fmt: skip
_FOLDERS = ("knee/*/", "tries/*/")
"""Run folders inside of a run's evidence: each has a list of its own of what was closed."""
_ENCODER = msgspec.json.Encoder()


class Closed(msgspec.Struct, frozen=True, array_like=True):
    """A line of `evidence/closed.jsonl`: one writer has closed one file."""

    path: str
    """Relative to `evidence/`."""
    lines: int | None
    """How many this writer has added to a list; None for a single record, which is written whole, and of which the last
    line counts."""
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    """Of a record its hash; of a list the sum over this writer's lines, 64 hexadecimal digits both."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it is, beside what its writers closed."""

    lines: int | None = None
    """Whole lines of a list; None for a single record, and for a file that is not there."""
    writers: int = 0
    """How many times it was closed."""
    problem: str | None = None
    """What is wrong with it, in words: it is missing, cut off, altered, or was not closed in order."""


class LineSum:
    """How many lines one writer has added to a list, and the sum of their hashes."""

    def __init__(self) -> None:
        self.lines = 0
        self._sum = 0

    def add(self, line: bytes, offset: int) -> None:
        self.lines += 1
        self._sum += int.from_bytes(sha256(b"%d %b" % (offset, line)).digest(), "big")

    def __str__(self) -> str:
        return f"{self._sum % _MODULUS:064x}"


def close_list(evidence: Path, path: Path, written: LineSum) -> None:
    """Note that a writer has closed a list below `evidence`."""
    _append(evidence, Closed(name_of(evidence, path), written.lines, str(written)))


def close_record(evidence: Path, path: Path, content: bytes) -> None:
    """Note that a file below `evidence` was written whole, with this content."""
    _append(evidence, Closed(name_of(evidence, path), None, sha256(content).hexdigest()))


def name_of(evidence: Path, path: Path) -> str:
    """The path relative to `evidence`. What is not UTF-8 in it is written out."""
    return path.relative_to(evidence).as_posix().encode("utf-8", "backslashreplace").decode()


def _append(evidence: Path, *closed: Closed) -> None:
    """With one write, since several processes do this. OSError on a full disk."""
    lines = b"".join(_ENCODER.encode(each) + b"\n" for each in closed)
    with (evidence / CLOSED).open("ab", buffering=0) as file:
        if file.write(lines) != len(lines):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)


def read_closed(evidence: Path) -> list[Closed]:
    """All that was closed. A line that cannot be read closes nothing."""
    path = evidence / CLOSED
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            found.append(msgspec.json.decode(line, type=Closed))
        except msgspec.MsgspecError:
            continue
    return found


def is_evidence(path: str) -> bool:
    """Whether verdicts are computed from a file of this path, relative to `evidence/`; others are logs and the like."""
    inside = any(fnmatchcase(path, f"{folder}*") for folder in _FOLDERS)
    return not inside and any(fnmatchcase(path, pattern) for pattern in _EVIDENCE)


def kept(evidence: Path) -> dict[str, Kept]:
    """Path relative to `evidence/` -> how each file of evidence is kept, and each that was closed."""
    closed = defaultdict[str, list[Closed]](list)
    for each in read_closed(evidence):
        closed[each.path].append(each)
    there = {name_of(evidence, path): path for path in evidence.rglob("*") if path.is_file()}
    names = sorted({*closed, *filter(is_evidence, there)})
    return {name: _kept(there.get(name, evidence / name), closed.get(name, [])) for name in names}


def _kept(path: Path, closed: list[Closed]) -> Kept:
    try:
        if path.suffix == _LIST:
            return _kept_list(path, closed)
        return Kept(writers=len(closed), problem=_problem_of_record(path, closed))
    except FileNotFoundError:
        return Kept(writers=len(closed), problem="it is missing")
    except OSError as error:
        return Kept(writers=len(closed), problem=f"it cannot be read: {error.strerror}")


def _problem_of_record(path: Path, closed: list[Closed]) -> str | None:
    content = path.read_bytes()
    if not closed:
        return "it was not closed in order"
    return None if closed[-1].sha256 == sha256(content).hexdigest() else "it is not what was closed"


def _kept_list(path: Path, closed: list[Closed]) -> Kept:
    found, torn = _sum_of(path)
    lines = sum(each.lines or 0 for each in closed)
    problem = None
    if torn:
        problem = "its last line is torn"
    elif not closed and (found.lines or not path.exists()):
        problem = "it was not closed in order"
    elif lines > found.lines:
        problem = f"{lines:,} lines were closed, {found.lines:,} are there"
    elif lines < found.lines:
        problem = f"of {found.lines:,} lines only {lines:,} were closed in order"
    elif str(found) != _total(closed):
        problem = "its lines are not those that were closed"
    return Kept(lines=found.lines, writers=len(closed), problem=problem)


def _sum_of(path: Path) -> tuple[LineSum, bool]:
    """(the sum over the whole lines of a file, whether its last line is torn)"""
    found = LineSum()
    with path.open("rb") as file:
        offset = 0
        for line in file:
            if not line.endswith(b"\n"):
                return found, True
            found.add(line, offset)
            offset += len(line)
    return found, False


def _total(closed: Iterable[Closed]) -> str:
    return f"{sum(int(each.sha256, 16) for each in closed) % _MODULUS:064x}"


# Files that move to another folder take along that they were closed.


class _Parted(NamedTuple):
    mine: list[Closed]
    others: list[Closed]


def _parted(closed: Iterable[Closed], paths: Collection[str]) -> _Parted:
    found = _Parted([], [])
    for each in closed:
        (found.mine if each.path in paths else found.others).append(each)
    return found


def copy_closed(source: Path, evidence: Path, paths: Collection[str]) -> None:
    """Note in `evidence` that these files, copied from `source`, were closed as they were there."""
    if mine := _parted(read_closed(source), paths).mine:
        _append(evidence, *mine)


def move_closed(source: Path, evidence: Path, paths: Collection[str]) -> None:
    """The same for files that were moved, of which `source` keeps nothing."""
    parted = _parted(read_closed(source), paths)
    if parted.mine:
        _append(evidence, *parted.mine)
        _replace(source, parted.others)


def move_lines(source: Path, evidence: Path, name: str, lines: list[bytes], offset: int, since: int) -> None:
    """Note that these lines, which stood in the list `name` of `source` from `offset` on, are the same list in
    `evidence` now. They were closed since `source` had so many lines of what was closed; if they are not what was
    closed, they count as not closed in either."""
    closed = read_closed(source)
    before, after = closed[:since], _parted(closed[since:], {name})
    were, are, at = LineSum(), LineSum(), 0
    for line in lines:
        were.add(line, offset + at)
        are.add(line, at)
        at += len(line)
    if after.mine and str(were) == _total(after.mine):
        close_list(evidence, evidence / name, are)
    _replace(source, [*before, *after.others])


def _replace(evidence: Path, closed: Iterable[Closed]) -> None:
    path = evidence / CLOSED
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(b"".join(_ENCODER.encode(each) + b"\n" for each in closed))
    temporary.replace(path)
