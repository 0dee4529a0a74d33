"""A TOML file that knows the line of each entry. tomllib gives no line numbers, and to refuse a topology without the
line that is wrong is no help.

The line is found with the parser itself, so that every way of writing TOML is understood: an entry ends where the
shortest beginning of the file ends that has the entry. That takes a parse for each line, but only if a file is refused.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, NoReturn, TypeVar

import msgspec

T = TypeVar("T")
_BYTES_MAX = 1 << 20


class TopologyError(Exception):
    """A wrong topology; names the file, the line, what was expected and what was found."""


class TopologyFile:
    """A topology's text as data, and the line of each entry. TopologyError if it is not TOML."""

    def __init__(self, name: str, content: bytes) -> None:
        self.name = name
        if len(content) > _BYTES_MAX:
            raise TopologyError(f"{name}: expected at most {_BYTES_MAX >> 20} MiB, found {len(content):,} bytes")
        try:
            self._text = content.decode()
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise TopologyError(f"{name}:{line}: expected UTF-8, found the byte 0x{content[error.start]:02x}") from None
        try:
            self.data: dict[str, Any] = tomllib.loads(self._text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            found = re.search(r"at line (\d+)", str(error))
            line = int(found[1]) if found else max(1, len(self._text.splitlines()))
            raise TopologyError(f"{name}:{line}: this is not TOML: {error}") from None

    def refuse(self, path: tuple[str, ...], problem: str, mention: str | None = None) -> NoReturn:
        """Raise TopologyError with the line of the entry, or if it is missing of the nearest table around it. `mention`
        is the text within the entry that is wrong."""
        where = ".".join(path)
        raise TopologyError(f"{self.name}:{self.line(path, mention)}: {where + ': ' if where else ''}{problem}")

    def line(self, path: tuple[str, ...], mention: str | None = None) -> int:
        """The line of an entry, from 1; if it is missing, the line of the table that it would be in."""
        lines = self._text.splitlines()
        while path and not _holds(self.data, path):
            path = path[:-1]
        if not path:
            return 1
        first = 1
        for number in range(1, len(lines) + 1):
            try:
                data = tomllib.loads("\n".join(lines[:number]))
            except tomllib.TOMLDecodeError:
                continue  # In the middle of an entry of several lines.
            if _holds(data, path):
                return _pick(lines, first, number, mention)
            first = number + 1
        return len(lines)

    def convert(self, path: tuple[str, ...], kind: type[T]) -> T:
        """The entry as a struct or a simple type. TopologyError if it is missing or has another shape."""
        value: Any = self.data
        for key in path:
            if not isinstance(value, dict) or key not in value:
                self.refuse(path, f"this entry is missing: expected {_expected(kind)}")
            value = value[key]
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            problem, _, inner = str(error).partition(" - at `$")
            below = tuple(re.findall(r"\.(\w+)", inner) + re.findall(r"unknown field `(.+)`", problem))
            self.refuse((*path, *below), problem)

    def table(self, *path: str) -> dict[str, Any]:
        """The entries of a table. TopologyError if it is empty."""
        found = self.convert(path, dict[str, Any])
        if not found:
            self.refuse(path, "expected at least one entry, found none")
        return found


def _holds(data: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True


def _pick(lines: list[str], first: int, last: int, mention: str | None) -> int:
    """Of the lines `first` to `last` of an entry, the one that has `mention` in quotes, else the first that is no
    comment."""
    candidates = [number for number in range(first, last + 1) if (text := lines[number - 1].strip()) and text[0] != "#"]
    if mention is not None:
        quoted = re.compile(rf"""["']{re.escape(mention)}["']""")
        # If a value is named twice, the second place is wrong.
        candidates = [number for number in candidates if quoted.search(lines[number - 1])][::-1] or candidates
    return candidates[0] if candidates else last


def _expected(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return "a table with " + ", ".join(kind.__struct_fields__)
    return "a table" if "dict" in str(kind) else str(getattr(kind, "__name__", kind))
