"""Files of evidence on disk: JSON lines and single JSON records.

Lists are appended and flushed record by record: a run that is killed leaves what it had. Single records are written to
a temporary file that is then renamed. A reader drops a torn last line, since its writer was killed; a torn line
anywhere else is damage and raises EvidenceError.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Generic, TypeVar

import msgspec

from reports.evidence.closing import LineSum, close_list

T = TypeVar("T")


class EvidenceError(Exception):
    """Evidence that is missing or cannot be read; names the file."""


_ENCODER = msgspec.json.Encoder()


def _encoded(record: object) -> bytes:
    """The record as JSON. What is not UTF-8 (a file's name, an argument) is written out, as `\\udcff`: a run must not
    lose its evidence over it."""
    try:
        return _ENCODER.encode(record)
    except UnicodeEncodeError:
        return _ENCODER.encode(_in_utf8(msgspec.to_builtins(record)))


def _in_utf8(part: Any) -> Any:
    match part:
        case str():
            return part.encode("utf-8", "backslashreplace").decode("utf-8")
        case dict():
            return {_in_utf8(key): _in_utf8(value) for key, value in part.items()}
        case list() | tuple():
            return [_in_utf8(value) for value in part]
    return part


class Appender(Generic[T]):
    """An open JSON-lines file. What `add` has written survives a kill -9 of this process, but not a loss of power.

    One of a run's evidence is noted as closed when `close` is called, or its `with` block ends without an exception.
    """

    def __init__(self, path: Path, evidence: Path | None = None) -> None:
        """`evidence`: the folder that keeps the list of what was closed; None for a file that is no run's evidence."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._evidence = path, evidence
        self._file = path.open("ab", buffering=0)
        self._written = LineSum()
        self._lock = Lock()  # A session's watcher adds to the timeline from a thread of its own.

    def add(self, *records: T) -> None:
        """Append the records with one write, so that lines of several processes do not mix. OSError on a full disk."""
        if not records:
            return
        encoded = [_encoded(record) + b"\n" for record in records]
        lines = b"".join(encoded)
        with self._lock:
            written = self._file.write(lines)
            if written != len(lines):
                raise OSError(errno.ENOSPC, f"only {written} of {len(lines)} bytes fitted", str(self._file.name))
            if self._evidence is not None:
                offset = self._file.tell() - len(lines)  # Open for appending, it stands behind what it wrote.
                for line in encoded:
                    self._written.add(line, offset)
                    offset += len(line)

    def close(self) -> None:
        """Close the file in order: it has all that was to be in it."""
        if self._file.closed:
            return
        self._file.close()
        if self._evidence is not None:
            close_list(self._evidence, self._path, self._written)

    def __enter__(self) -> Appender[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._file.close()
        self.close()


def read_lines(path: Path, kind: type[T]) -> Iterator[T]:
    """The records of a JSON-lines file; none if there is no such file. EvidenceError names a damaged line."""
    if not path.exists():
        return
    decoder = msgspec.json.Decoder(kind)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield decoder.decode(line)
            except msgspec.MsgspecError as error:
                raise EvidenceError(f"{path}, line {number}: {error}") from error


def write_record(path: Path, record: object) -> None:
    """Write one record as indented JSON, whole or not at all."""
    write_whole(path, indented(record))


def indented(record: object) -> bytes:
    """The record as the lines of its file."""
    return msgspec.json.format(_encoded(record), indent=1) + b"\n"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def read_record(path: Path, kind: type[T]) -> T:
    """The record of a file. EvidenceError names the file if it is missing or damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        raise EvidenceError(f"{path} is missing") from None
    except msgspec.MsgspecError as error:
        raise EvidenceError(f"{path}: {error}") from error
