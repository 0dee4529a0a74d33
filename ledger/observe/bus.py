"""Reading JetStream as an observer: what a stream holds, how far a consumer has got. Nothing is changed and
no consumer is made, so that looking does not disturb what is looked at.

A message carries the events of one partition whose positions follow on one another: one at a low rate, hundreds
when the relay catches up. Single messages are asked of the stream's leader. Many at once come by direct get in
batches, which any replica may answer, so a reader says up to which message it wants to see everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeVar

import msgspec
import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError

from infra.target import Target
from system import wire

_CONNECT_WITHIN_S = 5.0
_ANSWER_WITHIN_S = 2.0
_BATCH = 500

T = TypeVar("T")


class BusError(Exception):
    """JetStream did not answer, or answered with an error; says to what."""


class _NotFound(BusError):
    """What was asked for does not exist."""


class Frame(NamedTuple):
    """One message as the stream holds it: events of a partition, at least one, in the order of their positions."""

    seq: int
    events: list[wire.Event]

    @property
    def partition(self) -> str:
        return self.events[0].partition

    @property
    def first(self) -> int:
        """The lowest of its positions."""
        return self.events[0].position

    @property
    def last(self) -> int:
        return self.events[-1].position


class Cursor(msgspec.Struct, frozen=True):
    """A sequence of the stream, and the consumer's own count of deliveries, in which repeats count too."""

    stream_seq: int
    consumer_seq: int


class ConsumerState(msgspec.Struct, frozen=True):
    """How far a durable consumer has got, by its leader's word."""

    ack_floor: Cursor
    """Everything up to here is acknowledged; the next message behind it is not."""
    delivered: Cursor
    num_ack_pending: int
    num_pending: int


class _Refusal(msgspec.Struct):
    code: int
    description: str = ""


class _Answer(msgspec.Struct):
    error: _Refusal | None = None


class _Names(msgspec.Struct):
    consumers: list[str] | None = None


class _Message(msgspec.Struct):
    seq: int
    data: bytes = b""
    """base64 in JSON, which msgspec turns into what it stands for."""


class _Got(msgspec.Struct):
    message: _Message


@asynccontextmanager
async def observer(target: Target) -> AsyncIterator[Client]:
    """A connection as the observer; closed at the end. BusError if no node takes it within 5 s."""
    try:
        # The library's own connect can hang past its timeouts on a refused port.
        async with asyncio.timeout(_CONNECT_WITHIN_S):
            client = await nats.connect(
                **target.nats_options(target.nats_observer), connect_timeout=1, max_reconnect_attempts=-1,
                reconnect_time_wait=0.1, error_cb=_unheard,
            )  # fmt: skip
    except (OSError, TimeoutError, NatsError) as error:
        raise BusError(f"no NATS node took a connection within {_CONNECT_WITHIN_S:.0f} s: {error!r}") from error
    try:
        yield client
    finally:
        await client.close()


async def _unheard(error: Exception) -> None:
    """A lost connection is made again by the library; what it cost shows as the answer that did not come."""


async def consumer_state(client: Client, stream: str, durable: str) -> ConsumerState:
    """BusError if there is no such consumer, or no answer within 2 s (so for all of these)."""
    return await _ask(client, f"CONSUMER.INFO.{stream}.{durable}", {}, ConsumerState)


async def durables(client: Client, stream: str) -> list[str]:
    """The names of a stream's consumers, sorted."""
    return sorted((await _ask(client, f"CONSUMER.NAMES.{stream}", {}, _Names)).consumers or [])


async def frame_behind(client: Client, stream: str, seq: int, subject: str) -> Frame | None:
    """The first message of a subject behind a stream sequence; None if there is none yet."""
    return await _message(client, stream, {"seq": seq + 1, "next_by_subj": subject})


async def last_frame(client: Client, stream: str, subject: str) -> Frame | None:
    """The newest message of a subject, in which wildcards may be; None if there is none."""
    return await _message(client, stream, {"last_by_subj": subject})


async def frames(client: Client, stream: str, subject: str, first: int, last: int, *, within_s: float) -> list[Frame]:
    """Every message of a subject with a stream sequence first..last, both included, in order.

    A message at `last` must have been stored: a replica that has not got that far yet is asked again. BusError
    if it takes longer than `within_s`.
    """
    found: list[Frame] = []
    at = first
    try:
        async with asyncio.timeout(within_s):
            while at <= last:
                batch = await _batch(client, stream, subject, at)
                found += batch
                if batch:
                    at = batch[-1].seq + 1
                else:
                    await asyncio.sleep(0.05)
    except TimeoutError:
        raise BusError(f"{stream} could be read up to {at - 1}, expected {last}, within {within_s:.0f} s") from None
    return [frame for frame in found if frame.seq <= last]


async def _batch(client: Client, stream: str, subject: str, first: int) -> list[Frame]:
    """Up to 500 messages from a sequence on, from any replica; it ends with a message that has a status."""
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    request = {"seq": first, "batch": _BATCH, "next_by_subj": subject}
    found: list[Frame] = []
    try:
        await client.publish(f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(request), reply=inbox)
        while True:
            message = await subscription.next_msg(timeout=_ANSWER_WITHIN_S)
            headers = message.headers or {}
            if "Status" in headers:
                return found
            found.append(_frame(stream, int(headers["Nats-Sequence"]), message.data))
    except NatsError as error:
        raise BusError(f"{stream}: no answer to a direct get from {first}: {error!r}") from error
    finally:
        await subscription.unsubscribe()


async def _message(client: Client, stream: str, request: Mapping[str, object]) -> Frame | None:
    try:
        got = await _ask(client, f"STREAM.MSG.GET.{stream}", request, _Got)
    except _NotFound:
        return None
    return _frame(stream, got.message.seq, got.message.data)


async def _ask(client: Client, what: str, request: Mapping[str, object], kind: type[T]) -> T:
    try:
        answer = await client.request(f"$JS.API.{what}", msgspec.json.encode(request), timeout=_ANSWER_WITHIN_S)
        refusal = msgspec.json.decode(answer.data, type=_Answer).error
        if refusal is None:
            return msgspec.json.decode(answer.data, type=kind)
    except (NatsError, msgspec.MsgspecError) as error:
        raise BusError(f"{what}: {error!r}") from error
    raise (_NotFound if refusal.code == 404 else BusError)(f"{what}: {refusal.description}")


def _frame(stream: str, seq: int, data: bytes) -> Frame:
    try:
        events: list[wire.Event] = msgspec.json.decode(data, type=list[wire.Event])
        if events:  # All of a message are of one aggregate, which says what else they hold.
            events = msgspec.json.decode(data, type=list[wire.EVENT_KINDS[events[0].aggregate]])  # type: ignore[misc]
    except msgspec.MsgspecError as error:
        raise BusError(f"{stream}, message {seq}: expected a list of events: {error}") from error
    if not events:
        raise BusError(f"{stream}, message {seq}: expected at least one event, found none")
    return Frame(seq, events)
