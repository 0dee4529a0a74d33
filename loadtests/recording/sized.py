"""Messages of any size from one byte on: what they say of themselves, and which sizes follow one another in a sweep.

A payload of less than 24 bytes has no room for a number, so in a sweep the subject carries it, for all sizes alike:
`<subject>.<publisher>.<number>.<intended ns>.<bytes>`. The payload's bytes follow from its size, so that its
reader knows whether it is whole. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from loadtests.arrivals.schedule import Schedule
from reports.evidence import Latencies, percentile_ms

KIB, MIB = 1024, 1024 * 1024
SIZES = (1, 16, 128, KIB, 16 * KIB, 128 * KIB, MIB, 4 * MIB, 8 * MIB)
_PATTERN = bytes(range(251))
"""Of a prime length, so that no power of two fits: a piece that was cut out or doubled shows."""


class Message(NamedTuple):
    publisher: int
    number: int
    intended_ns: int
    size: int


class Step(NamedTuple):
    """A part of the sweep: messages of one size at one rate, one after another in time."""

    size: int
    rate: float
    begin_s: float
    """Since the sweep began."""
    seconds: float
    first: int
    """The number of its first message."""
    messages: int


def subject(prefix: str, message: Message) -> bytes:
    return f"{prefix}.{message.publisher}.{message.number}.{message.intended_ns}.{message.size}".encode()


def read(prefix: bytes, subject: bytes) -> Message | None:
    """What a subject below `prefix` (which ends with a dot) tells, None if it is not of a sweep."""
    words = subject[len(prefix) :].split(b".") if subject.startswith(prefix) else []
    if len(words) != 4 or not all(word.isdigit() for word in words):
        return None
    publisher, number, intended_ns, size = map(int, words)
    return Message(publisher, number, intended_ns, size)


@lru_cache(maxsize=len(SIZES))
def payload(size: int) -> bytes:
    """The only payload of that size."""
    return (_PATTERN * (size // len(_PATTERN) + 1))[:size]


def steps(sizes: Sequence[int], *, rate: float, bytes_per_s: float, seconds: float) -> list[Step]:
    """Each size for an equal share of `seconds`, at `rate` messages a second, or as many as `bytes_per_s` allow."""
    each_s, found, first = seconds / len(sizes), list[Step](), 0
    for place, size in enumerate(sizes):
        at = min(rate, bytes_per_s / size)
        messages = Schedule(0, at, 0, each_s).total
        found.append(Step(size, at, place * each_s, each_s, first, messages))
        first += messages
    return found


def words(size: int) -> str:
    """1 B, 16 KiB, 8 MiB."""
    for unit, least in (("MiB", MIB), ("KiB", KIB)):
        if size >= least:
            return f"{size / least:g} {unit}"
    return f"{size} B"


def summary(size: int, latencies: Latencies) -> str:
    """What one size took, in words."""
    median, p99 = percentile_ms(latencies, 50), percentile_ms(latencies, 99)
    of = f"of {latencies.samples + latencies.failed + latencies.unknown:,}"
    if median is None or p99 is None:
        return f"{words(size)}: nothing {of}"
    return f"{words(size)}: median {median:.1f} ms, p99 {p99:.1f} ms {of}"
