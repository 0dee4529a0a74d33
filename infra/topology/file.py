"""A TOML file whose mistakes can be pointed at: tomllib tells no line numbers, and a topology that is refused
without the line that is wrong is no help.

Where an entry stands is found with the parser itself, so that every way of writing TOML is understood: it is where
the shortest beginning of the file ends that holds the entry. That takes a parse a line, which only a refused file
has to pay for.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, NoReturn, TypeVar

import msgspec

T = TypeVar("T")
_BYTES_MAX = 1 << 20


class TopologyError(Exception):
    """A topology that cannot be: names the file, the line, what was expected and what was found."""


class TopologyFile:
    """A topology's text, as data and by line."""

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
        """Raise TopologyError at the entry, or where the nearest table above it stands; `mention` is a text within the
        entry that is wrong."""
        where = ".".join(path)
        raise TopologyError(f"{self.name}:{self.line(path, mention)}: {where + ': ' if where else ''}{problem}")

    def line(self, path: tuple[str, ...], mention: str | None = None) -> int:
        """The line, from 1, on which an entry stands; of an entry that is missing, that of the table it would be in."""
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
        """The entry as a struct or a simple type; refused if it is missing or of another shape."""
        value: Any = self.data
        for key in path:
            if not isinstance(value, dict) or key not in value:
                self.refuse(path, f"this entry is missing: expected {_said(kind)}")
            value = value[key]
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            problem, _, inner = str(error).partition(" - at `$")
            below = tuple(re.findall(r"\.(\w+)", inner) + re.findall(r"unknown field `(.+)`", problem))
            self.refuse((*path, *below), problem)

    def table(self, *path: str) -> dict[str, Any]:
        """The entries of a table that may not be empty."""
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
    """Of the lines of one entry the one with the text, else the first that says anything."""
    said = [number for number in range(first, last + 1) if (text := lines[number - 1].strip()) and text[0] != "#"]
    if mention is not None:
        quoted = re.compile(rf"""["']{re.escape(mention)}["']""")
        # A value named twice is wrong where it comes again.
        said = [number for number in said if quoted.search(lines[number - 1])][::-1] or said
    return said[0] if said else last


def _said(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return "a table with " + ", ".join(kind.__struct_fields__)
    return "a table" if "dict" in str(kind) else str(getattr(kind, "__name__", kind))
