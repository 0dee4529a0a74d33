"""Sets of whole numbers kept as ranges: what was written, what arrived, what is missing.

Millions of numbered messages that all arrive are one range. Only gaps and messages out of order take memory, and that
has a limit.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

MAX_RANGES = 100_000

Range = tuple[int, int]
"""First and last, both included."""


class TooManyRanges(Exception):
    """The numbers are too scattered for the memory limit, so what was recorded proves nothing."""


class RangeSet:
    """A set of integers as sorted, disjoint, non-adjacent ranges."""

    def __init__(self, ranges: Iterable[Range] = (), max_ranges: int = MAX_RANGES) -> None:
        """The numbers of all `ranges`, which may overlap and come in any order; ValueError for one that ends before it
        begins. `max_ranges` limits what is added later."""
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self._max_ranges = max_ranges
        for first, last in sorted(ranges):
            if last < first:
                raise ValueError(f"expected first <= last in a range, found {first}..{last}")
            if self._lasts and first <= self._lasts[-1] + 1:
                self._lasts[-1] = max(self._lasts[-1], last)
            else:
                self._firsts.append(first)
                self._lasts.append(last)

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

    def __iter__(self) -> Iterator[Range]:
        """The ranges in order."""
        return zip(self._firsts, self._lasts, strict=True)

    def __len__(self) -> int:
        """How many ranges there are."""
        return len(self._firsts)

    def __sub__(self, other: RangeSet) -> RangeSet:
        """The numbers that are not in the other set."""
        return RangeSet(gap for first, last in self for gap in other.missing(first, last))

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    @property
    def highest(self) -> int | None:
        return self._lasts[-1] if self._lasts else None

    def missing(self, first: int, last: int) -> Iterator[Range]:
        """The ranges of `first`..`last` that are not in the set."""
        position = first
        for at in range(max(0, bisect_right(self._firsts, first) - 1), len(self._firsts)):
            low, high = self._firsts[at], self._lasts[at]
            if low > last:
                break
            if low > position:
                yield position, low - 1
            position = max(position, high + 1)
        if position <= last:
            yield position, last

    def take(self) -> list[Range]:
        """Remove and return all ranges: the numbers that were added since the last call."""
        taken = list(self)
        self._firsts.clear()
        self._lasts.clear()
        return taken
