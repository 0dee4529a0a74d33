"""A mutable set of whole numbers, kept as ranges: it merges a stream of acknowledgements into spans while a load runs.

Millions of numbered messages that all arrive are one range. Only gaps and messages out of order take memory, and that
has a limit. Finished sets are plain lists, with the arithmetic of `reports.evidence.ranges`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

MAX_RANGES = 100_000


class TooManyRanges(Exception):
    """The numbers are too scattered for the memory limit, so what was recorded proves nothing."""


class RangeSet:
    """A set of integers as sorted, disjoint, non-adjacent ranges; both ends included."""

    def __init__(self, max_ranges: int = MAX_RANGES) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self._max_ranges = max_ranges

    def add(self, number: int) -> bool:
        """Put a number in; False if it was there. TooManyRanges beyond the limit."""
        firsts, lasts = self._firsts, self._lasts
        if lasts and number == lasts[-1] + 1:
            lasts[-1] = number
            return True
        at = bisect_right(firsts, number)
        if at and number <= lasts[at - 1]:
            return False
        joins_left = at > 0 and lasts[at - 1] + 1 == number
        joins_right = at < len(firsts) and firsts[at] - 1 == number
        if joins_left and joins_right:
            lasts[at - 1] = lasts[at]
            del firsts[at], lasts[at]
        elif joins_left:
            lasts[at - 1] = number
        elif joins_right:
            firsts[at] = number
        else:
            if len(firsts) >= self._max_ranges:
                raise TooManyRanges(f"more than {self._max_ranges:,} separate ranges of numbers")
            firsts.insert(at, number)
            lasts.insert(at, number)
        return True

    def add_range(self, first: int, last: int) -> bool:
        """Put `first`..`last` in; False if any of them was there. TooManyRanges beyond the limit."""
        firsts, lasts = self._firsts, self._lasts
        if not lasts or first > lasts[-1] + 1:
            if len(firsts) >= self._max_ranges:
                raise TooManyRanges(f"more than {self._max_ranges:,} separate ranges of numbers")
            firsts.append(first)
            lasts.append(last)
            return True
        if first == lasts[-1] + 1:
            lasts[-1] = last
            return True
        # Out of order, which is rare.
        return sum(self.add(number) for number in range(first, last + 1)) == last + 1 - first

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number)
        return at > 0 and number <= self._lasts[at - 1]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The ranges in order, (first, last)."""
        return zip(self._firsts, self._lasts, strict=True)

    def __len__(self) -> int:
        """How many ranges there are."""
        return len(self._firsts)

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    @property
    def highest(self) -> int | None:
        return self._lasts[-1] if self._lasts else None

    def missing(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The ranges of `first`..`last` that are not in the set."""
        position = first
        start = max(0, bisect_right(self._firsts, first) - 1)
        for low, high in zip(self._firsts[start:], self._lasts[start:], strict=True):
            if low > last:
                break
            if low > position:
                yield position, low - 1
            position = max(position, high + 1)
        if position <= last:
            yield position, last

    def take(self) -> list[tuple[int, int]]:
        """Remove and return all ranges: the numbers that were added since the last call."""
        taken = list(self)
        self._firsts.clear()
        self._lasts.clear()
        return taken
