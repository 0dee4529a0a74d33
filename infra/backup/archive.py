"""How WAL lies in the bucket. Pure.

A segment is kept as chunks, each what pg_receivewal had added to its file since the last look, and once more as a whole
when it is complete, so that a restore fetches few objects. They are written once and never changed, which is what an
object lock wants. `wal/<segment>/<begin>-<end>`, offsets in hexadecimal; beside them `wal/<timeline>.history`. A base
backup is `base/<begun, UTC>.tar.gz`, and complete when its `.json` is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

WAL = "wal/"
BASE = "base/"
BASE_TAR, BASE_DONE = ".tar.gz", ".json"
_SEGMENT = re.compile(r"[0-9A-F]{24}")
_HISTORY = re.compile(r"[0-9A-F]{8}\.history")
_CHUNK = re.compile(r"wal/([0-9A-F]{24})/([0-9a-f]{8})-([0-9a-f]{8})")
_PARTIAL = ".partial"
BLOCK_BYTES = 64 * 1024
"""The largest page of WAL that PostgreSQL can be built with."""


class Gap(Exception):
    """The archive lacks WAL between two chunks that it has; names the place."""


class Chunk(NamedTuple):
    key: str
    begin: int
    end: int


class File(NamedTuple):
    """A file that pg_receivewal wrote."""

    segment: str
    complete: bool


def segment_file(name: str) -> File | None:
    """What a file of this name holds; None if it is no segment."""
    segment = name.removesuffix(_PARTIAL)
    return File(segment, segment == name) if _SEGMENT.fullmatch(segment) else None


def is_history(name: str) -> bool:
    return _HISTORY.fullmatch(name) is not None


def chunk_key(segment: str, begin: int, end: int) -> str:
    return f"{WAL}{segment}/{begin:08x}-{end:08x}"


def written_up_to(read: Callable[[int], bytes], begin: int, block_bytes: int = BLOCK_BYTES) -> int:
    """The offset up to which an incomplete segment has been written; `read` gives its next so many bytes from `begin`
    on. It is a look at a file that grows: what lies before the offset is to be read after it is known.

    pg_receivewal fills a new file with zeros first. Every page of WAL begins with a header, so that the first whole
    block of zeros is the end, and nothing behind it is looked at. What ends in zeros itself is not cut short: the
    zeros are there when the file is put together, or come with the next chunk.
    """
    end = at = begin
    while block := read(block_bytes - at % block_bytes):
        if block != bytes(len(block)):
            end = at + len(block.rstrip(b"\0"))
        elif at % block_bytes == 0:
            break
        at += len(block)
    return end


def chunks(keys: Iterable[str]) -> dict[str, list[Chunk]]:
    """Segment -> its chunks in order; other objects are left out."""
    found: dict[str, list[Chunk]] = {}
    for key in keys:
        if match := _CHUNK.fullmatch(key):
            found.setdefault(match[1], []).append(Chunk(key, int(match[2], 16), int(match[3], 16)))
    return {segment: sorted(parts, key=lambda part: (part.begin, part.end)) for segment, parts in found.items()}


def cover(parts: Iterable[Chunk]) -> list[Chunk]:
    """The fewest of a segment's chunks that hold all that can be had without a hole, in order."""
    left, chosen, end = sorted(parts, key=lambda part: part.begin), list[Chunk](), 0
    while reaching := [part for part in left if part.begin <= end < part.end]:
        chosen.append(max(reaching, key=lambda part: part.end))
        end = chosen[-1].end
    return chosen


def end_of(parts: Iterable[Chunk]) -> int:
    """The offset up to which a segment's chunks leave nothing out."""
    return max((part.end for part in cover(parts)), default=0)


def needed(keys: Iterable[str], start_segment: str, segment_bytes: int) -> dict[str, list[Chunk]]:
    """The segments that a restore from a base backup may need: from its first one on, of every timeline; and of each
    the chunks to fetch.

    Gap if one of them has a hole, or one is missing before the last.
    """
    found = {segment: parts for segment, parts in chunks(keys).items() if segment[8:] >= start_segment[8:]}
    for segment, parts in found.items():
        if end_of(parts) < max(part.end for part in parts):
            raise Gap(f"segment {segment} lacks what comes after {end_of(parts):#x}")
    if start_segment not in found:
        raise Gap(f"segment {start_segment} is missing, with which the base backup begins")
    numbers = sorted({_number(segment, segment_bytes) for segment in found})
    for number, following in pairwise(numbers):
        if following != number + 1:
            raise Gap(f"{following - number - 1} segments are missing after the {number}th, which is not the last")
    return {segment: cover(parts) for segment, parts in found.items()}


def newest_base(ended: Mapping[str, str], at: str | None) -> str | None:
    """Of base backups (name -> when it ended, ISO in UTC) the last that had ended at an instant; None if none had."""
    usable = [name for name, when in ended.items() if at is None or when <= at]
    return max(usable, default=None)


def _number(segment: str, segment_bytes: int) -> int:
    """Where a segment lies in the stream of WAL, whatever its timeline: its name counts in files of 4 GiB."""
    return int(segment[8:16], 16) * (2**32 // segment_bytes) + int(segment[16:24], 16)
