"""What has been sent and not answered yet, in runs: an acknowledgement that covers hundreds of messages costs as much
as one that covers one.

Pure. A run is consecutive numbers that count as meant to be sent at the same instant, so that they share a latency.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Run(NamedTuple):
    """Numbers `first` ... `end` - 1, all intended at `intended_ns`."""

    first: int
    end: int
    intended_ns: int


class Flights:
    """Flights by the key that their answer carries, in the order in which they were sent."""

    def __init__(self) -> None:
        self.count = 0
        """Numbers in flight."""
        self._flights: dict[int, tuple[list[Run], int]] = {}

    def __len__(self) -> int:
        """How many answers are awaited."""
        return len(self._flights)

    def add(self, key: int, runs: list[Run], sent_ns: int) -> None:
        self._flights[key] = (runs, sent_ns)
        self.count += _size(runs)

    def land(self, key: int) -> list[Run]:
        """The flight was answered; nothing if it had been given up before."""
        runs, _ = self._flights.pop(key, ([], 0))
        self.count -= _size(runs)
        return runs

    def land_first(self, key: int, numbers: int) -> list[Run]:
        """The first `numbers` of a flight were answered; the others stay."""
        runs, sent_ns = self._flights.get(key, ([], 0))
        landed, left = _split(runs, numbers)
        self.count -= _size(landed)
        if left:
            self._flights[key] = (left, sent_ns)
        elif runs:
            del self._flights[key]
        return landed

    def overdue(self, before_ns: int) -> list[Run]:
        """Give up what was sent before `before_ns`."""
        keys = []
        for key, (_, sent_ns) in self._flights.items():
            if sent_ns >= before_ns:
                break
            keys.append(key)
        return [run for key in keys for run in self.land(key)]

    def clear(self) -> list[Run]:
        """Give up everything."""
        runs = [run for each, _ in self._flights.values() for run in each]
        self._flights.clear()
        self.count = 0
        return runs


def _size(runs: Iterable[Run]) -> int:
    return sum(run.end - run.first for run in runs)


def _split(runs: list[Run], numbers: int) -> tuple[list[Run], list[Run]]:
    """The first `numbers` of the runs, and the others."""
    for index, run in enumerate(runs):
        size = run.end - run.first
        if numbers < size:
            at = run.first + numbers
            head = [run._replace(end=at)] if numbers else []
            return runs[:index] + head, [run._replace(first=at), *runs[index + 1 :]]
        numbers -= size
    return runs, []
