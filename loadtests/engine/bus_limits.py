"""What the bus is limited to: its streams as they run, against what the seed says of each; the largest message as every
clients are told it; and that one byte more is refused, in words. That a message of exactly 8 MiB is taken shows in the
load around it. The expectations stand here, written from the contract and not from the system's own table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError
from nats.js.api import StreamConfig

from infra.target import Target
from loadtests.clients.jetstream import ack_outcome
from loadtests.clients.nats import NatsClient, inbox
from loadtests.clients.nats_py import connected
from loadtests.clients.nats_wire import publish, subscribe
from loadtests.recording.sized import payload
from reports.evidence import Count, RunFolder

ROW = "bus.limits"
LARGEST_BYTES = 8 * 1024 * 1024
_DAY_S = 86_400
_WITHIN_S = 15.0


class Limits(NamedTuple):
    messages: int
    age_s: int


STREAMS = {
    "COVENANT_COUNTRIES": Limits(1_000_000, 30 * _DAY_S),
    "COVENANT_PROJECTS": Limits(1_000_000, 30 * _DAY_S),
    "COVENANT_USERS": Limits(100_000, 7 * _DAY_S),
    "ALERTS_INCIDENTS": Limits(10_000, _DAY_S),
}


def of_stream(name: str, found: StreamConfig, replicas: int) -> Iterator[Count]:
    """A stream's configuration as it runs, each limit a fact."""
    wanted = STREAMS[name]
    for what, value, expected in (
        ("messages", found.max_msgs, wanted.messages),
        ("seconds", found.max_age, wanted.age_s),
        ("replicas", found.num_replicas, replicas),
    ):
        how = f"{name} keeps {expected:,} {what}"
        yield Count(row=ROW, value=float(value or 0), unit=what, how=how, ok=value == expected)
    largest = found.max_msg_size or 0
    yield Count(
        row=ROW, value=float(largest), unit="bytes", how=f"{name} takes messages of {LARGEST_BYTES:,} bytes",
        # -1: no limit but the server's.
        ok=largest in (-1, LARGEST_BYTES),
    )  # fmt: skip


async def configuration(target: Target) -> list[Count]:
    """Every stream's limits as they run, and what a client is told of the largest message."""
    found: list[Count] = []
    async with connected(target, target.nats_observer, name="load-limits", within_s=_WITHIN_S) as client:
        js = client.jetstream(timeout=_WITHIN_S)
        for name in STREAMS:
            try:
                info = await js.stream_info(name)
            except (NatsError, TimeoutError) as error:
                found.append(Count(row=ROW, value=0, unit="", how=f"{name} is there ({error!r})", ok=False))
                continue
            found += of_stream(name, info.config, target.stream_replicas)
        told = client.max_payload
        how = f"a client is told that {LARGEST_BYTES:,} bytes are the most"
        found.append(Count(row=ROW, value=float(told), unit="bytes", how=how, ok=told == LARGEST_BYTES))
    return found


async def kept_back(target: Target, subject: str) -> Count:
    """A stock client refuses to send what the server told it that it would not take."""
    refused = False
    async with connected(target, target.nats_load, name="load-limits", within_s=_WITHIN_S) as client:
        try:
            await client.publish(subject, payload(LARGEST_BYTES) + b"+")
        except MaxPayloadError:
            refused = True
    how = "a stock client refuses to send one byte more"
    return Count(row=ROW, value=float(LARGEST_BYTES + 1), unit="bytes", how=how, ok=refused)


class _Sender:
    """Sends one message as it is asked to, and hears what becomes of it."""

    def __init__(self, target: Target) -> None:
        loop = asyncio.get_running_loop()
        self.heard: asyncio.Future[tuple[str, str]] = loop.create_future()
        """(how it ended, in whose words)."""
        self._inbox = inbox(target.nats_load)
        self.client = NatsClient(target, self, name="load-limits")

    async def send(self, subject: str, content: bytes) -> tuple[str, str]:
        await self.client.wait_connected()
        self.client.write(publish(subject.encode(), content, self._inbox))
        try:
            async with asyncio.timeout(_WITHIN_S):
                return await self.heard
        except TimeoutError:
            return "unknown", f"nothing heard within {_WITHIN_S:.0f} s"
        finally:
            await self.client.close()

    def _hear(self, outcome: str, words: str) -> None:
        if not self.heard.done():
            self.heard.set_result((outcome, words))

    def on_connected(self) -> None:
        self.client.write(subscribe(self._inbox, 1))

    def on_lost(self, reason: str) -> None:
        self._hear("lost", reason)

    def on_batch(self) -> None:
        """No clock is needed."""

    def on_message(self, subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
        self._hear(*ack_outcome(headers, payload))

    def on_refused(self, what: str) -> None:
        self._hear("refused", what)


def accepted(acknowledged: int, sent: int) -> Count:
    """Of the load's messages of exactly the limit."""
    return Count(
        row=ROW, value=float(acknowledged), unit=f"of {sent} messages",
        how=f"{LARGEST_BYTES:,} bytes are acknowledged", ok=acknowledged == sent > 0,
    )  # fmt: skip


async def refused(target: Target, subject: str) -> Count:
    """One byte more than the limit: the server says why, and ends the connection."""
    outcome, words = await _Sender(target).send(subject, payload(LARGEST_BYTES) + b"+")
    return Count(
        row=ROW, value=float(LARGEST_BYTES + 1), unit=f"bytes: {words or outcome}",
        how=f"{LARGEST_BYTES + 1:,} bytes are refused with Maximum Payload Violation",
        ok=outcome == "lost" and "maximum payload" in words.lower(),
    )  # fmt: skip


async def record(target: Target, folder: RunFolder, subject: str, largest: Count) -> None:
    """Look at all of it, and write it down beside what the load found of the largest messages."""
    counts = [*await configuration(target), largest, await kept_back(target, subject), await refused(target, subject)]
    with folder.facts() as facts:
        facts.add(*counts)
