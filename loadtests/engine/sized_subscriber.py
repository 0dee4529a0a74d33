"""Reads a sweep of sizes while it runs: every message by the number in its subject, every payload byte by byte.

A payload that is not what its subject says counts as not there: then its number is lost, and the record says that the
stream holds what is not of this load.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial

from loadtests.clients.ordered_consumer import Shape
from loadtests.engine.bus_subscriber import BusSubscriberSpec, Subscriber, work
from loadtests.engine.process import run_engine
from loadtests.recording import sized
from loadtests.recording.latency_counts import LatencyCounts
from loadtests.recording.live import Stat
from reports.evidence import Operation

DELIVERY, END_TO_END = "delivery of ", "end to end of "
"""What operations are called, followed by their size."""


class SizedSubscriber(Subscriber):
    """A delivery and an end-to-end latency for each size."""

    def __init__(self, spec: BusSubscriberSpec) -> None:
        super().__init__(spec)
        self._by_size: dict[tuple[str, int], LatencyCounts] = defaultdict(LatencyCounts)

    def shape(self, spec: BusSubscriberSpec) -> Shape | None:
        return None

    def settle(self) -> list[Stat]:
        for (kind, _), counts in self._by_size.items():
            counts.settle(self.live if kind == DELIVERY else None)
        return self.live.take()

    def operations(self) -> list[Operation]:
        return [
            Operation(name=kind + sized.words(size), latencies=counts.close())
            for (kind, size), counts in sorted(self._by_size.items())
        ]

    def _take(self, subject: bytes, payload: bytes, sequence: int, stored_ns: int, wall_ns: int, mono_ns: int) -> None:
        message = sized.read(self._prefix, subject)
        if message is None or len(payload) != message.size or payload != sized.payload(message.size):
            self.received.add_foreign(sequence)
            return
        new = self.received.add(sequence, message.publisher, message.number)
        if not new or not self._window[0] <= message.intended_ns < self._window[1]:
            return
        delivery, end_to_end = (self._by_size[kind, message.size] for kind in (DELIVERY, END_TO_END))
        if self.catching_up:
            delivery.recorder.failed += 1
            end_to_end.recorder.failed += 1
            return
        delivery.add([(wall_ns - stored_ns) // 1000])
        end_to_end.add([(mono_ns - message.intended_ns) // 1000])


if __name__ == "__main__":
    run_engine(BusSubscriberSpec, partial(work, kind=SizedSubscriber))
