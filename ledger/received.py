"""What a subscriber has seen of a numbered load: which numbers, how often, in which order.

Pure, in bounded memory: ranges, not numbers. A number is doubled if the stream holds it twice; a message that
is merely delivered twice has the same stream sequence and is one.
"""

from __future__ import annotations

from collections import defaultdict

from reports.evidence.range_set import RangeSet


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
        self._add_number(publisher, number)
        return True

    def _add_number(self, publisher: int, number: int) -> None:
        numbers = self._numbers[publisher]
        highest = numbers.highest
        if not numbers.add(number):
            self._doubled[publisher].add(number)
        elif highest is not None and number < highest:
            self.reordered += 1

    def add_run(self, sequence: int, publisher: int, first: int, count: int) -> bool:
        """Note `count` messages with sequences and numbers without a gap, if all are new and in order; False if they
        have to be looked at one by one. TooManyRanges at the limit."""
        numbers = self._numbers[publisher]
        if (self.sequences.highest or 0) >= sequence or (-1 if numbers.highest is None else numbers.highest) >= first:
            return False
        self.sequences.add_range(sequence, sequence + count - 1)
        return numbers.add_range(first, first + count - 1)

    def add_frame(self, sequence: int, publisher: int, events: list[int]) -> bool:
        """Note a message that holds many events; False if this stream sequence was seen before."""
        if not self.sequences.add(sequence):
            return False
        numbers = self._numbers[publisher]
        first, count = (events[0], len(events)) if events else (0, 0)
        if events == list(range(first, first + count)) and (numbers.highest is None or numbers.highest < first):
            return not count or numbers.add_range(first, first + count - 1)
        for number in events:
            self._add_number(publisher, number)
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
