"""An ordered push consumer over the raw connection: every message of a stream once, in order, from a sequence.

The server pushes without acknowledgements and paces itself by flow-control requests, which are answered at
once. A heartbeat that fails to come, or that counts messages that did not, a hole in the consumer's own
numbering, or a lost connection mean that something was missed: then a new consumer is made behind the last
sequence that was handed on. Each has a subject of its own, so that a late message of an old one is not mixed in.

Messages of a load are all of one shape: a single search finds hundreds of them in what a socket brought, for a fifth of
the CPU. Whatever does not fit, in shape or in sequence, is looked at by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import time
from collections.abc import Callable
from typing import NamedTuple

from infra.machine.spec import EngineError
from infra.target import Target
from loadtests.clients import nats_wire
from loadtests.clients.jetstream import Delivery, delivery
from loadtests.clients.nats import NatsClient, inbox

_HEARTBEAT_S = 0.5
_SILENCE_S = 3 * _HEARTBEAT_S
_CREATE_TIMEOUT_S = 2.0
_RETRY_S = 0.2
_INACTIVE_S = 10
_CONSUMER_LAST = b"Nats-Last-Consumer"
_STALLED = b"Nats-Consumer-Stalled"

Handler = Callable[[bytes, bytes, int, int, int, int], None]
"""(subject, payload, stream sequence, stored ns since 1970, received ns since 1970, received monotonic ns)"""


class Deliveries(NamedTuple):
    """Messages that came together, in the order of the stream."""

    sequences: list[int]
    stored_ns: list[int]
    heads: list[bytes]
    """The beginning of each payload, as many bytes as the shape says."""
    wall_ns: int
    mono_ns: int


class Shape(NamedTuple):
    """What most messages look like, and what takes many of them."""

    subjects: bytes
    """Below this one."""
    payload_bytes: int
    head_bytes: int
    handle: Callable[[Deliveries], None]

    def pattern(self, sid: int, consumer: bytes) -> re.Pattern[bytes]:
        """Matches a whole message of this consumer."""
        reply = rb"\$JS\.ACK\.(?:[^ .]+\.[^ .]+\.)?[^ .]+\.%b\.1\.(\d+)\.(\d+)\.(\d+)\.\d+(?:\.[^ .]+)?"
        reply %= re.escape(consumer)
        line = rb"MSG %b\.\S+ %d %b %d\r\n" % (re.escape(self.subjects), sid, reply, self.payload_bytes)
        padding = self.payload_bytes - self.head_bytes
        return re.compile(line + rb"(.{%d}).{%d}\r\n" % (self.head_bytes, padding), re.DOTALL)


class OrderedConsumer:
    """Reads `stream` from sequence `first` on and calls `handle` for every message, until `close`; `shape` takes those
    that look like it."""

    def __init__(
        self, target: Target, stream: str, first: int, handle: Handler, *, name: str, shape: Shape | None = None
    ) -> None:
        self.last = first - 1
        """The last sequence that was handed on."""
        self.attached = 0
        """How many consumers it took."""
        self.problems: list[str] = []
        self._stream = stream
        self._handle = handle
        self._inbox = inbox(target.nats_load)
        self._deliver = self._consumer = b""
        self._expected = 0
        self._heard = 0.0
        self._wall_ns = self._mono_ns = 0
        self._answer: asyncio.Future[bytes] | None = None
        self._renew = asyncio.Event()
        self._live = asyncio.Event()
        self._shape = shape
        self._pattern: re.Pattern[bytes] | None = None
        self._many: re.Pattern[bytes] | None = None
        self._client = NatsClient(target, self, name=name, bulk=self._take)
        self._task = asyncio.get_running_loop().create_task(self._keep_attached())

    async def wait_attached(self, deadline_s: float = 15.0) -> None:
        """EngineError if there is no consumer by then."""
        try:
            async with asyncio.timeout(deadline_s):
                await self._live.wait()
        except TimeoutError:
            found = self.problems[-1] if self.problems else self._client.last_problem
            raise EngineError(
                f"expected a consumer of {self._stream} within {deadline_s:.0f} s, found {found}"
            ) from None

    @property
    def _sid(self) -> int:
        return self.attached + 1

    @property
    def _answers(self) -> bytes:
        return self._inbox + b".a.%d" % self.attached

    def reached(self, sequence: int) -> bool:
        """Whether everything up to `sequence` has been handed on."""
        return self.last >= sequence

    def read_from(self, sequence: int) -> None:
        """Go back (or on) to `sequence`."""
        self.last = sequence - 1
        self._detach()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task], timeout=1.0)
        await self._client.close()

    def _detach(self) -> None:
        if self._deliver:
            # The server drops a consumer that has no subscriber by itself.
            self._client.write(nats_wire.unsubscribe(self._sid))
        self._deliver = self._consumer = b""
        self._pattern = None
        self._live.clear()
        self._renew.set()

    async def _keep_attached(self) -> None:
        while True:
            self._renew.clear()
            if self._client.connected and await self._attach():
                await self._watch()
            else:
                await asyncio.sleep(_RETRY_S)

    async def _watch(self) -> None:
        """Return when a new consumer is needed."""
        while not self._renew.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HEARTBEAT_S):
                    await self._renew.wait()
            silent_s = time.monotonic() - self._heard
            if silent_s > _SILENCE_S and not self._renew.is_set():
                self._missed(f"no heartbeat for {silent_s:.1f} s")

    async def _attach(self) -> bool:
        """Make a consumer behind `last`; False if the server did not."""
        self.attached += 1
        deliver = b"%b.d.%d" % (self._inbox, self.attached)
        name = secrets.token_hex(8)
        config = {
            "name": name, "deliver_subject": deliver.decode(), "deliver_policy": "by_start_sequence",
            "opt_start_seq": max(1, self.last + 1), "ack_policy": "none", "max_deliver": 1,
            "replay_policy": "instant", "flow_control": True, "idle_heartbeat": int(_HEARTBEAT_S * 1e9),
            "inactive_threshold": _INACTIVE_S * 1_000_000_000, "num_replicas": 1, "mem_storage": True,
        }  # fmt: skip
        request = json.dumps({"stream_name": self._stream, "config": config}).encode()
        subject = f"$JS.API.CONSUMER.CREATE.{self._stream}.{name}".encode()
        # Messages may come before the answer: be ready for them.
        self._expected, self._heard = 1, time.monotonic()
        self._deliver, self._consumer = deliver, name.encode()
        if self._shape is not None:
            self._pattern = self._shape.pattern(self._sid, self._consumer)
            # A message, or all the rest: so many are found without a gap between them.
            self._many = re.compile(self._pattern.pattern + b"|(.+)", re.DOTALL)
        self._answer = asyncio.get_running_loop().create_future()
        self._client.write(nats_wire.subscribe(deliver, self._sid))
        self._client.write(nats_wire.publish(subject, request, self._answers))
        try:
            async with asyncio.timeout(_CREATE_TIMEOUT_S):
                answer = json.loads(await self._answer)
        except (TimeoutError, ConnectionError, ValueError) as error:
            self._missed(f"consumer not made: {error or 'no answer'}")
            return False
        if "error" in answer:
            self._missed(f"consumer refused: {answer['error'].get('description')}")
            return False
        self._live.set()
        return True

    def _missed(self, why: str) -> None:
        self.problems.append(why)
        self._detach()

    # What the connection tells.

    def on_connected(self) -> None:
        self._client.write(nats_wire.subscribe(self._inbox + b".a.*", 1))

    def on_lost(self, reason: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(reason))
        self._missed(f"connection lost: {reason}")

    def on_refused(self, what: str) -> None:
        self.problems.append(what)

    def on_batch(self) -> None:
        self._wall_ns, self._mono_ns = time.time_ns(), time.monotonic_ns()

    def on_message(self, subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
        found = delivery(reply)
        if found is not None:
            if found.consumer == self._consumer:
                self._on_delivery(subject, payload, found)
        elif subject == self._deliver:
            self._heard = time.monotonic()
            self._on_status(reply, headers)
        elif subject == self._answers and self._answer is not None and not self._answer.done():
            self._answer.set_result(payload)

    def _take(self, data: bytes, position: int) -> int:
        """Hand on all messages from `position` on that have the shape and follow each other; the position behind."""
        if self._pattern is None or self._many is None or self._shape is None:
            return position
        if self._pattern.match(data, position) is None:
            return position
        found = self._many.findall(data, position)
        rest = found.pop()[4] if found[-1][4] else b""
        sequences, consumer_sequences, stored, heads, _ = zip(*found, strict=True)
        if list(map(int, consumer_sequences)) != list(range(self._expected, self._expected + len(found))):
            return position
        self._heard = time.monotonic()
        self._expected += len(found)
        batch = Deliveries(
            list(map(int, sequences)), list(map(int, stored)), list(heads), self._wall_ns, self._mono_ns
        )  # fmt: skip
        self.last = batch.sequences[-1]
        self._shape.handle(batch)
        return len(data) - len(rest)

    def _on_delivery(self, subject: bytes, payload: bytes, found: Delivery) -> None:
        self._heard = time.monotonic()
        if found.consumer_seq != self._expected:
            self._missed(f"expected the consumer's message {self._expected:,}, found {found.consumer_seq:,}")
            return
        self._expected += 1
        self.last = found.stream_seq
        self._handle(subject, payload, found.stream_seq, found.stored_ns, self._wall_ns, self._mono_ns)

    def _on_status(self, reply: bytes, headers: bytes) -> None:
        """A flow-control request or a heartbeat."""
        answer_to = reply or nats_wire.header_value(headers, _STALLED)
        if answer_to:
            self._client.write(nats_wire.publish(answer_to, b""))
        counted = nats_wire.header_value(headers, _CONSUMER_LAST)
        if counted is not None and counted.isdigit() and int(counted) >= self._expected:
            self._missed(f"heartbeat tells of message {int(counted):,}, {self._expected:,} has not come")
