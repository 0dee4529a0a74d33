"""Takes a run's folder and spoils it in every way that a faulty writer or a slip could, one at a time.

Each file is deleted, emptied, cut, doubled; each kind of line is taken out, doubled, moved; each field of each kind of
record is altered. `seal` closes a file anew as its own writers would have, had they written it so: what is found then
is found by what was expected, or by another count of the same thing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from reports.evidence import Latencies, counts_us
from reports.evidence.closing import CLOSED, LineSum, close_list, close_record, is_evidence, read_closed
from reports.tests.synthetic_run import latencies

_MAP_FROM = 10
"""A JSON object with more keys is a map of alike entries, of which two stand for all."""
_OTHER = {
    "ok": "fail", "fail": "ok", "unknown": "ok", "passed": "failed", "failed": "passed", "finished": "interrupted",
    "completed": "aborted", "smoke": "load.api-browse", "phase_begin": "note", "phase_end": "note", "fault": "note",
    "proof": "note", "healed": "note", "error": "note", "skipped": "note", "write": "read", "read": "write",
    "effect": "publish", "publish": "effect", "load": "check", "check": "load", "experiment": "check",
    "session": "check", "browser": "check",
}  # fmt: skip
"""A value of a field with a fixed set of them -> another one."""


class Mutation(NamedTuple):
    """One way to spoil one file. `kind` is the same for alike ones in alike files: it names files and fields by
    pattern."""

    path: str
    """Relative to `evidence/`."""
    kind: str
    takes: bool
    """Whether it takes evidence away, and does not only alter or double it."""
    apply: Callable[[bytes], bytes | None]
    """The file's content -> what is left; None: no file."""


def mutations(evidence: Path) -> Iterator[Mutation]:
    """All of them, of each file of a run's evidence."""
    for path in sorted(path for path in evidence.rglob("*") if path.is_file()):
        name = path.relative_to(evidence).as_posix()
        if is_evidence(name) or name == CLOSED:
            content = path.read_bytes()
            yield from _of_file(name, content)
            yield from (_of_list if path.suffix == ".jsonl" else _of_record)(name, content)


def _family(path: str) -> str:
    """`ledger/*.jsonl` of `ledger/pg-primary-kill.jsonl`; a hop keeps its name."""
    folder, _, name = path.rpartition("/")
    if folder == "hops":
        return f"hops/*.{name.split('.')[1]}.json"
    if folder == "expected":
        return "expected/session.json" if name == "session.json" else "expected/*.json"
    if folder.startswith("chaos/"):
        return f"chaos/*/{name}"
    if folder in ("load", "ledger"):
        middle = ".".join(name.split(".")[1:])
        return f"{folder}/*.{middle}"
    return path


def _of_file(path: str, content: bytes) -> Iterator[Mutation]:
    family = _family(path)
    yield Mutation(path, f"{family}: deleted", True, lambda _: None)
    if content:
        yield Mutation(path, f"{family}: emptied", True, lambda _: b"")
        yield Mutation(path, f"{family}: cut in half", True, lambda whole: whole[: len(whole) // 2])
        yield Mutation(path, f"{family}: end cut off", True, lambda whole: whole[:-2])
        yield Mutation(path, f"{family}: doubled", False, lambda whole: whole * 2)


# Lists.


def _of_list(path: str, content: bytes) -> Iterator[Mutation]:
    lines = content.splitlines(keepends=True)
    family = _family(path)
    if len(lines) > 1:
        yield Mutation(path, f"{family}: reversed", False, lambda _: b"".join(reversed(lines)))
    if len(lines) > 2:
        yield Mutation(path, f"{family}: second half gone", True, lambda _: b"".join(lines[: len(lines) // 2]))
    for kind, at in _kinds(path, lines).items():
        where = f"{family}: {kind}"
        yield Mutation(path, f"{where}: gone", True, _with(lines, at, []))
        yield Mutation(path, f"{where}: all gone", True, _without(lines, _alike(path, lines, kind)))
        yield Mutation(path, f"{where}: doubled", False, _with(lines, at, [lines[at]] * 2))
        if at + 1 < len(lines) and lines[at] != lines[at + 1]:
            moved = [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]
            yield Mutation(path, f"{where}: moved behind the next", False, _all(moved))
        for field, altered in _altered(json.loads(lines[at])):
            line = json.dumps(altered, separators=(",", ":")).encode() + b"\n"
            yield Mutation(path, f"{where}: {field}", _takes(field), _with(lines, at, [line]))


def _with(lines: list[bytes], at: int, instead: list[bytes]) -> Callable[[bytes], bytes]:
    return _all([*lines[:at], *instead, *lines[at + 1 :]])


def _without(lines: list[bytes], gone: set[int]) -> Callable[[bytes], bytes]:
    return _all([line for number, line in enumerate(lines) if number not in gone])


def _all(lines: list[bytes]) -> Callable[[bytes], bytes]:
    return lambda _: b"".join(lines)


def _kind(path: str, record: Any) -> str:
    """What lines are told apart by."""
    match path.split("/")[-1], record:
        case "timeline.jsonl", {"kind": str(kind)}:
            return kind
        case "facts.jsonl", {"row": str(row)}:
            return row
        case "probes.jsonl", [_, _, operation, _, outcome, *_]:
            return f"{operation} {outcome}"
        case "closed.jsonl", [str(name), *_]:
            return f"of {_family(name)}"
        case _, [_, _, outcome, _]:
            return f"write {outcome}"
        case _, [_, _, _, outcome, _]:
            return f"span {outcome}"
    return "a line"


def _kinds(path: str, lines: list[bytes]) -> dict[str, int]:
    """Kind of line -> the one in the middle of its kind."""
    found: dict[str, list[int]] = {}
    for number, line in enumerate(lines):
        found.setdefault(_kind(path, json.loads(line)), []).append(number)
    return {kind: numbers[len(numbers) // 2] for kind, numbers in found.items()}


def _alike(path: str, lines: list[bytes], kind: str) -> set[int]:
    return {number for number, line in enumerate(lines) if _kind(path, json.loads(line)) == kind}


# Records.


def _of_record(path: str, content: bytes) -> Iterator[Mutation]:
    for field, altered in _altered(json.loads(content)):
        whole = json.dumps(altered, indent=1).encode() + b"\n"
        yield Mutation(path, f"{_family(path)}: {field}", _takes(field), _all([whole]))


def _takes(field: str) -> bool:
    return field.endswith(("last gone", "all gone", "field gone"))


def _altered(value: Any) -> Iterator[tuple[str, Any]]:
    """(which field and how, the record with it altered) for each field."""
    for place, how, other in _changes(value, ()):
        words = ".".join("*" if isinstance(part, int) or part.startswith("~") else part for part in place)
        yield (
            f"{words} {how}".strip(),
            _replaced(value, [part.lstrip("~") if isinstance(part, str) else part for part in place], other),
        )


_GONE = object()


def _changes(value: Any, place: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], str, Any]]:
    match value:
        case bool():
            yield place, "turned round", not value
        case int() | float():
            yield place, "one more", value + 1
            if value:
                yield place, "to zero", 0
                yield place, "tenfold", value * 10
        case str():
            yield place, "replaced", _other_text(value)
        case list():
            yield from _of_array(value, place)
        case dict():
            yield from _of_object(value, place)


def _other_text(text: str) -> str:
    if text.startswith("HIST"):  # As many, and all of them fast.
        samples = sum(count for _, count in counts_us(Latencies(hdr=text, samples=0)))
        return latencies([0.5], times=samples).close().hdr
    return _OTHER.get(text, f"{text}x")


def _of_array(value: list[Any], place: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], str, Any]]:
    if not value:
        return
    if place:
        yield place, "last gone", value[:-1]
        yield place, "all gone", []
        yield place, "last doubled", [*value, value[-1]]
        if len(value) > 1 and value != value[::-1]:
            yield place, "reversed", value[::-1]
    fields = range(len(value)) if not place else {0, len(value) // 2}
    for number in fields:
        # The fields of a line that is an array are told apart, the entries of a list are alike.
        part = f"~{number}" if place else str(number)
        yield from _changes(value[number], (*place, part))


def _of_object(value: dict[str, Any], place: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], str, Any]]:
    is_map = len(value) > _MAP_FROM and len({type(each) for each in value.values()}) == 1
    names = [*value][: 1 if is_map else None]
    if is_map:
        yield place, "all gone", {}
    for name in names:
        part = f"~{name}" if is_map else name
        yield (*place, part), "field gone", _GONE
        yield from _changes(value[name], (*place, part))


def _replaced(value: Any, place: list[Any], other: Any) -> Any:
    if not place:
        return other
    copy = json.loads(json.dumps(value))
    inner = copy
    for part in place[:-1]:
        inner = inner[int(part) if isinstance(inner, list) else part]
    last = int(place[-1]) if isinstance(inner, list) else place[-1]
    if other is _GONE:
        del inner[last]
    else:
        inner[last] = other
    return copy


# Doing it.


def spoil(evidence: Path, mutation: Mutation) -> Callable[[], None]:
    """Spoil the file; what puts it back."""
    path = evidence / mutation.path
    before = path.read_bytes()
    closed = (evidence / CLOSED).read_bytes()
    after = mutation.apply(before)
    if after is None:
        path.unlink()
    else:
        path.write_bytes(after)

    def restore() -> None:
        path.write_bytes(before)
        (evidence / CLOSED).write_bytes(closed)

    return restore


def seal(evidence: Path, name: str) -> None:
    """Close a file as its writers would have, had they written it as it is. What there is no more was never closed."""
    closed = read_closed(evidence)
    writers = sum(each.path == name for each in closed)
    (evidence / CLOSED).write_bytes(
        b"".join(
            json.dumps([each.path, each.lines, each.sha256]).encode() + b"\n" for each in closed if each.path != name
        )
    )
    path = evidence / name
    if not path.exists():
        return
    if path.suffix != ".jsonl":
        close_record(evidence, path, path.read_bytes())
        return
    found, offset = LineSum(), 0
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):  # A writer closes whole lines.
            found.add(line, offset)
        offset += len(line)
    for _ in range(writers - 1):
        close_list(evidence, path, LineSum())
    close_list(evidence, path, found)
