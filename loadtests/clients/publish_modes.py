"""How a bulk publisher puts numbered messages on the wire, and what an answer says of which of them.

- `singles`: a message and a PubAck each.
- `atomic`: JetStream atomic batches (nats-server 2.12+, `allow_atomic`): stored as a whole or not at all, one PubAck.
- `fast`: JetStream fast-ingest batches (2.14+, `allow_batched`): each message is stored as it comes, the batch is
  acknowledged by flow and at its end. A batch ends with its burst, since what is beyond the last whole flow is only
  acknowledged by the end.
- `frames`: many events coalesced in one message with a PubAck; a number is an event's. Never compare it with the others
  without its framing.

Pure: no socket, no clock. Batches: https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-50.md
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Literal, NamedTuple

import msgspec

from loadtests.clients import payload as numbered
from loadtests.clients.fast_batches import FastBatches, key_of
from loadtests.clients.jetstream import ack_outcome
from loadtests.recording.flights import Flights, Run
from reports.evidence import Outcome

ModeName = Literal["singles", "atomic", "fast", "frames"]

SUBJECTS = 300
"""Subjects that a run's messages go to in turn, as many as there are projects."""
MAX_BATCH = 1000
"""The server's limit of an atomic batch."""
_SINGLE = b"PUB %b %b.%d %d\r\n"


class Ended(NamedTuple):
    run: Run
    outcome: Outcome
    detail: str = ""


class Mode(ABC):
    """One publisher's messages on one connection after another."""

    words: str
    """Beside every figure."""

    def __init__(self, subject: str, inbox: bytes, publisher: int) -> None:
        """Messages go to `<subject>.<0 to 299>`, answers come to subjects below `inbox`."""
        self.flights = Flights()
        self._subjects = [f"{subject}.{n}".encode() for n in range(SUBJECTS)]
        self._inbox = inbox
        self._publisher = publisher
        self._keys = itertools.count(1)

    @abstractmethod
    def encode(self, runs: list[Run], now_ns: int) -> bytes:
        """The protocol bytes that send these runs; from now on they are in flight."""

    def answered(self, subject: bytes, headers: bytes, payload: bytes) -> Iterator[Ended]:
        """How an answer ends which numbers; nothing about what has been given up."""
        key = int(subject[len(self._inbox) + 1 :].partition(b".")[0])
        outcome, detail = ack_outcome(headers, payload)
        for run in self.flights.land(key):
            yield Ended(run, outcome, detail)

    def _payloads(self, intended_ns: int, payload_bytes: int) -> tuple[bytes, bytes]:
        """What stands before and behind the number of every message of a run, as parts of a format."""
        before, behind = numbered.around(self._publisher, intended_ns)
        padding = b"." * (payload_bytes - numbered.MIN_PAYLOAD_BYTES)
        return before.replace(b"%", b"%%"), behind.replace(b"%", b"%%") + padding


class Singles(Mode):
    words = "windowed singles, a PubAck each"

    def __init__(self, subject: str, inbox: bytes, publisher: int, payload_bytes: int) -> None:
        super().__init__(subject, inbox, publisher)
        self._payload_bytes = payload_bytes

    def encode(self, runs: list[Run], now_ns: int) -> bytes:
        subjects, number_bytes, add = self._subjects, numbered.number_bytes, self.flights.add
        lines = []
        for first, end, intended_ns in runs:
            before, behind = self._payloads(intended_ns, self._payload_bytes)
            # The number is the key: no other message has it.
            line = b"PUB %%b %b.%%d %d\r\n%b%%b%b\r\n" % (self._inbox, self._payload_bytes, before, behind)
            for n in range(first, end):
                add(n, [Run(n, n + 1, intended_ns)], now_ns)
                lines.append(line % (subjects[n % SUBJECTS], n, number_bytes(n)))
        return b"".join(lines)


class AtomicBatches(Mode):
    def __init__(self, subject: str, inbox: bytes, publisher: int, payload_bytes: int, batch: int) -> None:
        super().__init__(subject, inbox, publisher)
        if not 1 <= batch <= MAX_BATCH:
            raise ValueError(f"batch: expected 1 to {MAX_BATCH:,} messages, found {batch}")
        self._payload_bytes, self._batch = payload_bytes, batch
        # A server may still hold what an earlier publisher of this name began.
        self._id = inbox.rpartition(b".")[2]
        self.words = f"atomic batches of a burst each, at most {batch} messages; a PubAck a batch"

    def encode(self, runs: list[Run], now_ns: int) -> bytes:
        return b"".join([self._one(each, now_ns) for each in batches(runs, self._batch)])

    def _one(self, runs: list[Run], now_ns: int) -> bytes:
        key = next(self._keys)
        self.flights.add(key, runs, now_ns)
        lines, place, last = [], 0, sum(run.end - run.first for run in runs)
        for first, end, intended_ns in runs:
            before, behind = numbered.around(self._publisher, intended_ns)
            behind += b"." * (self._payload_bytes - numbered.MIN_PAYLOAD_BYTES)
            for n in range(first, end):
                place += 1
                number = numbered.number_bytes(n)
                headers = b"NATS/1.0\r\nNats-Batch-Id: %b.%d\r\nNats-Batch-Sequence: %d\r\n" % (self._id, key, place)
                headers += b"Nats-Batch-Commit: 1\r\n\r\n" if place == last else b"\r\n"
                reply = b" %b.%d" % (self._inbox, key) if place == last else b""
                subject, size = self._subjects[n % SUBJECTS], len(headers)
                lines.append(
                    b"HPUB %b%b %d %d\r\n%b%b%b%b\r\n"
                    % (subject, reply, size, size + self._payload_bytes, headers, before, number, behind)
                )  # fmt: skip
        return b"".join(lines)


class _FlowAck(msgspec.Struct):
    type: str = ""
    seq: int = 0
    last_seq: int = 0
    count: int = 0


_decode_flow = msgspec.json.Decoder(_FlowAck).decode


class FastIngest(Mode):
    def __init__(self, subject: str, inbox: bytes, publisher: int, payload_bytes: int, batch: int) -> None:
        super().__init__(subject, inbox, publisher)
        if batch < 1:
            raise ValueError(f"batch: expected at least one message, found {batch}")
        self._batch = batch
        self._bytes = FastBatches(
            subject=subject.encode(), subjects=SUBJECTS, inbox=inbox, publisher=publisher,
            payload_bytes=payload_bytes, batch=batch,
        )  # fmt: skip
        self._done: dict[int, int] = {}
        """How far the batches in flight have been acknowledged."""
        self.words = f"fast-ingest batches of a burst each, at most {batch} messages; acknowledged at their end"

    def encode(self, runs: list[Run], now_ns: int) -> bytes:
        made = []
        for each in batches(runs, self._batch):
            key = next(self._keys)
            self.flights.add(key, each, now_ns)
            made.append(self._bytes.encode(key, each))
        return b"".join(made)

    def answered(self, subject: bytes, headers: bytes, payload: bytes) -> Iterator[Ended]:
        key = key_of(subject[len(self._inbox) + 1 :].partition(b".")[0])
        try:
            ack = _decode_flow(payload)
        except msgspec.MsgspecError:
            ack = _FlowAck()
        if ack.type == "ack":
            yield from self._stored(key, ack.seq)
        elif ack.type:
            return  # A gap: the end of the batch follows, and says how many were stored.
        else:
            outcome, detail = ack_outcome(headers, payload)
            if outcome == "ok":
                yield from self._stored(key, ack.count)
                outcome, detail = "fail", f"the batch ended behind {ack.count} messages"
            else:
                # A new leader does not know the batch, whatever the old one had stored of it.
                outcome = "unknown"
            for run in self.flights.land(key):
                yield Ended(run, outcome, detail)
            self._done.pop(key, None)

    def _stored(self, key: int, through: int) -> Iterator[Ended]:
        done = self._done.get(key, 0)
        if through > done:
            self._done[key] = through
            for run in self.flights.land_first(key, through - done):
                yield Ended(run, "ok")


class Frames(Mode):
    def __init__(self, subject: str, inbox: bytes, publisher: int, event_bytes: int, batch: int) -> None:
        super().__init__(subject, inbox, publisher)
        self._event_bytes, self._batch = numbered.check_event_bytes(event_bytes), batch
        self.words = f"frames of at most {batch} events of {event_bytes} bytes in one message; a PubAck a frame"

    def encode(self, runs: list[Run], now_ns: int) -> bytes:
        lines = []
        for each in batches(runs, self._batch):
            key = next(self._keys)
            self.flights.add(key, each, now_ns)
            # A frame has one instant, that of its first event: what counts from it is never too short.
            payload = numbered.frame(
                self._publisher, each[0].first, each[-1].end, each[0].intended_ns, self._event_bytes
            )
            lines.append(_SINGLE % (self._subjects[key % SUBJECTS], self._inbox, key, len(payload)))
            lines += (payload, b"\r\n")
        return b"".join(lines)


def batches(runs: list[Run], most: int) -> Iterator[list[Run]]:
    """Consecutive runs in lists of at most `most` numbers; a run may be cut in two."""
    batch: list[Run] = []
    room = most
    for run in runs:
        while run.first < run.end:
            end = min(run.end, run.first + room)
            batch.append(run._replace(end=end))
            room -= end - run.first
            run = run._replace(first=end)
            if not room:
                yield batch
                batch, room = [], most
    if batch:
        yield batch


def make(
    name: ModeName, *, subject: str, inbox: bytes, publisher: int, payload_bytes: int, batch: int
) -> Mode:  # fmt: skip
    """The mode of that name; `payload_bytes` is an event's size in frames. ValueError for sizes that cannot be."""
    if name == "frames":
        return Frames(subject, inbox, publisher, payload_bytes, batch)
    numbered.check_payload_bytes(payload_bytes)
    match name:
        case "singles":
            return Singles(subject, inbox, publisher, payload_bytes)
        case "atomic":
            return AtomicBatches(subject, inbox, publisher, payload_bytes, batch)
        case "fast":
            return FastIngest(subject, inbox, publisher, payload_bytes, batch)
