"""What becomes of messages in flight: late ones and those of a lost connection are unknown, each once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from infra import target as targets
from infra.target import Target
from loadtests.clients.acked_publisher import AckedPublisher
from loadtests.recording.flights import Flights, Run
from reports.evidence import Outcome, RunFolder, Span
from reports.evidence.folder import Appender

S = 1_000_000_000


class Publisher(AckedPublisher):
    """Sends nothing, and keeps what it is to account for."""

    def __init__(self, target: Target, ledger: Appender[Span], flights: Flights) -> None:
        super().__init__(
            target, ledger, flights, publisher=3, inbox=b"_INBOX.one", name="one", ack_timeout_s=2.0
        )  # fmt: skip
        self.ended: list[tuple[int, Outcome, str]] = []
        self.pumped = 0

    def _pump(self) -> None:
        self.pumped += 1

    def _end(self, run: Run, now_ns: int, outcome: Outcome, detail: str) -> None:
        self.ended.append((run.first, outcome, detail))
        self._add_span(run.first, run.end - 1, outcome)

    def on_message(self, subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
        """Nothing is acknowledged."""

    def sweep(self, now_ns: int) -> None:
        self._give_up_overdue(now_ns)


@pytest.fixture
def target(make_target: Callable[..., Path]) -> Target:
    return targets.read(make_target())


def _after(target: Target, folder: RunFolder, happens: Callable[[Publisher], None]) -> Publisher:
    """The publisher of messages 0 (sent at 10 s) and 1 (at 11 s), after what happens to it."""
    flights = Flights()

    async def work() -> Publisher:
        with folder.spans("load") as ledger:
            publisher = Publisher(target, ledger, flights)
            for n in range(2):
                flights.add(n, [Run(n, n + 1, 0)], (10 + n) * S)
            happens(publisher)
            await publisher.client.close()
            return publisher

    return asyncio.run(work())


def test_what_is_not_acknowledged_in_time_is_unknown(target: Target, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    publisher = _after(target, folder, lambda each: each.sweep(round(12.5 * S)))
    assert publisher.ended == [(0, "unknown", "timeout: no PubAck in time")]
    assert [(span.publisher, span.first, span.last, span.outcome) for span in folder.span_history("load")] == [
        (3, 0, 0, "unknown")
    ]


def test_what_was_in_flight_when_the_connection_was_lost_is_unknown_once(target: Target, tmp_path: Path) -> None:
    def happens(publisher: Publisher) -> None:
        publisher.on_lost("reset by peer")
        publisher.sweep(100 * S)

    publisher = _after(target, RunFolder.create(tmp_path / "run"), happens)
    why = "connection lost before the PubAck"
    assert publisher.ended == [(0, "unknown", why), (1, "unknown", why)]
    assert publisher.problems == ["connection lost: reset by peer"]


def test_a_new_connection_goes_on_with_what_waits(target: Target, tmp_path: Path) -> None:
    publisher = _after(target, RunFolder.create(tmp_path / "run"), lambda each: each.on_connected())
    assert publisher.pumped == 1
