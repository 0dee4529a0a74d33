"""How WAL and base backups are named and stored in the bucket. Pure.

While pg_receivewal fills a segment's file, each addition is stored as a chunk. When the segment is complete, it is
stored once more as a single chunk, so that a restore fetches few objects. A chunk is `wal/<segment>/<begin>-<end>`,
with hexadecimal offsets; timelines are `wal/<timeline>.history`. A base backup is `base/<begun, UTC>.tar.gz`; it is
complete once its `.json` exists. Objects are never changed, as an object lock demands.
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
    """Bytes `begin` to `end` (excluded) of a segment, stored under `key`."""

    key: str
    begin: int
    end: int


class File(NamedTuple):
    """A segment's file that pg_receivewal writes; `complete` once it has been renamed."""

    segment: str
    complete: bool


def segment_file(name: str) -> File | None:
    """The segment that a file of this name holds; None if it holds none."""
    segment = name.removesuffix(_PARTIAL)
    return File(segment, segment == name) if _SEGMENT.fullmatch(segment) else None


def is_history(name: str) -> bool:
    return _HISTORY.fullmatch(name) is not None


def chunk_key(segment: str, begin: int, end: int) -> str:
    return f"{WAL}{segment}/{begin:08x}-{end:08x}"


def written_up_to(read: Callable[[int], bytes], begin: int, block_bytes: int = BLOCK_BYTES) -> int:
    """The offset up to which an incomplete segment has been written. `read(count)` returns the file's next bytes, from
    `begin` on. The file grows meanwhile, so read the bytes before the offset again once it is known.

    pg_receivewal fills a new file with zeros first. Every page of WAL begins with a header, so the first block that is
    all zeros is the end, and nothing after it is read. WAL that ends in zeros itself loses nothing: a restored file has
    zeros there, too, or the next chunk brings them.
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
    """The fewest of a segment's chunks that cover it from its beginning to the first hole, in order."""
    left, chosen, end = sorted(parts, key=lambda part: part.begin), list[Chunk](), 0
    while reaching := [part for part in left if part.begin <= end < part.end]:
        chosen.append(max(reaching, key=lambda part: part.end))
        end = chosen[-1].end
    return chosen


def end_of(parts: Iterable[Chunk]) -> int:
    """The offset at which a segment's chunks have their first hole, or end."""
    return max((part.end for part in cover(parts)), default=0)


def needed(keys: Iterable[str], start_segment: str, segment_bytes: int) -> dict[str, list[Chunk]]:
    """Segment -> the chunks to fetch of it, for every segment that a restore from a base backup may need: these are
    `start_segment` and all later segments, of every timeline.

    Gap if a segment has a hole, or if one before the last is missing.
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
    """The newest base backup that had ended by the instant `at` (None: the newest of all); None if there is none.
    `ended`: name -> when it ended. Instants are ISO 8601 in UTC."""
    usable = [name for name, when in ended.items() if at is None or when <= at]
    return max(usable, default=None)


def _number(segment: str, segment_bytes: int) -> int:
    """A segment's number in the stream of WAL, without its timeline. Its name counts in logical files of 4 GiB."""
    return int(segment[8:16], 16) * (2**32 // segment_bytes) + int(segment[16:24], 16)
