"""What a subscriber has seen of a numbered load: which numbers, how often, in which order.

Pure, in bounded memory: ranges, not numbers. A number is doubled if the stream holds it twice; a message that
is merely delivered twice has the same stream sequence and is one.
"""

from __future__ import annotations

from collections import defaultdict

from loadtests.engine.ranges import RangeSet


class Arrivals:
    def __init__(self) -> None:
        self.sequences = RangeSet()
        """Stream sequences seen."""
        self.foreign = 0
        """Messages in the stream that are not of this load."""
        self.reordered = 0
        """Messages that the stream holds behind a higher number of the same publisher."""
        self._numbers: dict[int, RangeSet] = defaultdict(RangeSet)
        self._doubled: dict[int, RangeSet] = defaultdict(RangeSet)

    def add(self, sequence: int, publisher: int, number: int) -> bool:
        """Note a message; False if this stream sequence was seen before. TooManyRanges at the limit."""
        if not self.sequences.add(sequence):
            return False
        numbers = self._numbers[publisher]
        highest = numbers.highest
        if not numbers.add(number):
            self._doubled[publisher].add(number)
        elif highest is not None and number < highest:
            self.reordered += 1
        return True

    def add_foreign(self, sequence: int) -> None:
        if self.sequences.add(sequence):
            self.foreign += 1

    @property
    def spans(self) -> list[tuple[int, int, int]]:
        """(publisher, first, last) of what was found."""
        return _spans(self._numbers)

    @property
    def doubled_spans(self) -> list[tuple[int, int, int]]:
        """(publisher, first, last) of what was found more than once."""
        return _spans(self._doubled)


def _spans(numbers: dict[int, RangeSet]) -> list[tuple[int, int, int]]:
    return [(publisher, first, last) for publisher in sorted(numbers) for first, last in numbers[publisher]]
