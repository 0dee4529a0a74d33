"""A publisher whose messages are acknowledged and accounted for: what its connection and the time do to what it sent.

What was in flight when the connection was lost, or was not acknowledged in time, is unknown. The ledger has every
number before it is sent, and again with how it ended.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

from infra.target import Target
from loadtests.clients.nats import NatsClient
from loadtests.clients.nats_wire import subscribe
from loadtests.recording.flights import Flights, Run
from reports.evidence import Outcome, Span
from reports.evidence.folder import Appender


class AckedPublisher(ABC):
    """The owner of a connection over which numbered messages are published; acknowledgements come below `inbox`."""

    def __init__(
        self, target: Target, ledger: Appender[Span], flights: Flights, *, publisher: int, inbox: bytes, name: str,
        ack_timeout_s: float,
    ) -> None:  # fmt: skip
        """`publisher` is its number in the ledger, `name` its name in the server's list of connections."""
        self._ledger = ledger
        self._flights = flights
        self._publisher = publisher
        self._inbox = inbox
        self._ack_timeout_ns = round(ack_timeout_s * 1e9)
        self._now_ns = 0
        """When the acknowledgements that are being read came."""
        self.problems: list[str] = []
        self.client = NatsClient(target, self, name=name)

    @abstractmethod
    def _pump(self) -> None:
        """Send what there is room for."""

    @abstractmethod
    def _end(self, run: Run, now_ns: int, outcome: Outcome, detail: str) -> None:
        """Account for numbers that were in flight and have ended."""

    @abstractmethod
    def on_message(self, subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
        """An acknowledgement."""

    def _add_span(self, first: int, last: int, outcome: Outcome | None) -> None:
        """Into the ledger: `first` ... `last` are about to be sent (None), or have ended."""
        self._ledger.add(Span(self._publisher, first, last, outcome, time.monotonic_ns()))

    def _give_up_overdue(self, now_ns: int) -> None:
        for run in self._flights.overdue(now_ns - self._ack_timeout_ns):
            self._end(run, now_ns, "unknown", "timeout: no PubAck in time")

    def _give_up_all(self, now_ns: int, why: str) -> None:
        for run in self._flights.clear():
            self._end(run, now_ns, "unknown", why)

    # What the connection tells.

    def on_connected(self) -> None:
        self.client.write(subscribe(self._inbox + b".>", 1))
        self._pump()

    def on_lost(self, reason: str) -> None:
        self._give_up_all(time.monotonic_ns(), "connection lost before the PubAck")
        self.problems.append(f"connection lost: {reason}")

    def on_refused(self, what: str) -> None:
        self.problems.append(what)

    def on_batch(self) -> None:
        self._now_ns = time.monotonic_ns()
