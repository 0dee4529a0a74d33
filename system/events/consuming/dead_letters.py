"""`python -m system.events.consuming.dead_letters list|replay [--consumer NAME]`: what consumers put aside because
they could not apply it.

A dead letter is stored before the consumer moves past its positions, so nothing is skipped without a trace. Its
replay goes through the consumer's own effect, whose guard admits a skipped position once: so it does not matter
how often a letter is replayed, or where the replay is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import logging
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from nats.aio.client import Client
from nats.errors import Error
from nats.js.errors import APIError, NotFoundError

from system import settings as settings_
from system.domain.frames import Fault, Opener
from system.events import bus, metrics
from system.events.consuming.effect import Delivery, Effect
from system.events.consuming.guard import Admission
from system.events.consuming.recover import read_outbox, read_stream
from system.events.streams import ensure_dead_letters
from system.process import Backoff, DependencyState
from system.settings import Settings
from system.store.session import Session, Unavailable
from system.wire import (
    DEAD_LETTERS,
    DEAD_LETTERS_SUBJECTS,
    MESSAGE_ID_HEADER,
    STREAMS,
    DeadLetter,
    Stream,
    dead_letter_subject,
    event_subject,
    observer,
)

PAYLOAD_MAX = 4 * 1024 * 1024
"""A letter must fit into a message, base64 and all. Larger payloads are cut off: the outbox has the events."""
_STORED_WITHIN_S = 2.0
_CONNECTED_WITHIN_S = 10.0
_APPLIED_WITHIN_S = 10.0
_NO_SUCH_MESSAGE = 10057
_NOWHERE = "unknown"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(DeadLetter).decode


class DeadLetterOffice:
    """Where a consumer puts aside what it cannot apply."""

    def __init__(
        self, consumer: str, stream: Stream, settings: Settings, client: Client, around: DependencyState,
        log: logging.Logger,
    ) -> None:  # fmt: skip
        self._consumer = consumer
        self._stream = stream
        self._settings = settings
        self._js = client.jetstream(timeout=_STORED_WITHIN_S)
        self._around = around
        self._log = log

    async def put_aside(self, fault: Fault, sequence: int) -> None:
        """Store it; returns once that is acknowledged, however long it takes. `sequence` is its message's in the
        stream, 0 if it is not known any more."""
        partition = fault.partition or _NOWHERE
        letter = DeadLetter(
            consumer=self._consumer, region=self._settings.region, stream=self._stream.name,  # type: ignore[arg-type]
            sequence=sequence, partition=partition, first=fault.first, last=fault.last, reason=fault.reason,
            failed_at=datetime.now(UTC).isoformat(), payload=fault.payload[:PAYLOAD_MAX],
        )  # fmt: skip
        what = f"{self._stream.name}.{sequence}" if fault.first is None else f"{partition}:{fault.first}-{fault.last}"
        headers = {MESSAGE_ID_HEADER: f"{self._consumer}:{what}"}
        subject = dead_letter_subject(self._consumer, partition)
        backoff = Backoff()
        while True:
            try:
                await self._js.publish(subject, _encode(letter), timeout=_STORED_WITHIN_S, headers=headers)
                break
            except (Error, OSError) as error:
                self._around.away("stream of dead letters", error)
                await backoff.wait()
                with contextlib.suppress(Error, OSError):  # Told by the next try, which fails for the same reason.
                    await ensure_dead_letters(self._js, self._settings.stream_replicas, update=False)
        self._around.back("stream of dead letters")
        metrics.DEAD_LETTERS.labels(self._consumer, self._stream.name).inc()
        self._log.error("%s, %s was put aside as a dead letter: %s", self._stream.name, what, fault.reason)


class Stored(NamedTuple):
    """A dead letter and its sequence in the stream of dead letters."""

    sequence: int
    letter: DeadLetter

    def __str__(self) -> str:
        """One line: sequence, consumer, where it belongs, when and why it failed."""
        letter = self.letter
        positions = "no positions" if letter.first is None else f"{letter.partition} {letter.first}-{letter.last}"
        reason = " ".join(letter.reason.split())
        return f"{self.sequence} {letter.consumer} {letter.stream} {positions} {letter.failed_at} {reason}"


async def stored(client: Client, consumer: str | None) -> AsyncGenerator[Stored, None]:
    """The dead letters of a consumer (None: of all), oldest first."""
    try:
        await client.jetstream().stream_info(DEAD_LETTERS)
    except NotFoundError:
        return
    subjects = DEAD_LETTERS_SUBJECTS if consumer is None else dead_letter_subject(consumer, ">")
    async with contextlib.aclosing(read_stream(client, DEAD_LETTERS, subjects, 1)) as messages:
        async for message in messages:
            yield Stored(message.metadata.sequence.stream, _decode(message.data))


async def replay(client: Client, settings: Settings, one: Stored) -> str | None:
    """Apply what a dead letter holds and remove it; or the reason why that is not possible, and it stays."""
    letter = one.letter
    name = letter.consumer.removesuffix(f"-{letter.region}")
    if letter.first is None or letter.last is None:
        return "it has no positions, so there is nothing to apply"
    known = sorted(one.name for one in observer.CONSUMERS)
    if name not in known:
        return f"there is no consumer {name!r}; expected one of {', '.join(known)}"
    if name != letter.consumer and letter.region != settings.region:
        return f"its effects are in {letter.region}: replay it there"
    [stream] = [known for known in STREAMS if known.name == letter.stream]
    try:
        deliveries = await _deliveries(settings, stream, letter)
    except (Unavailable, msgspec.MsgspecError) as error:
        return f"its events cannot be read: {error}"
    effect = effect_of(name)(settings, stream)
    try:
        async with asyncio.timeout(_APPLIED_WITHIN_S):
            admission = await _applied(effect, letter.partition, deliveries)
    except TimeoutError:
        return f"it could not be applied within {_APPLIED_WITHIN_S:.0f} s: where its effects go is away"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this letter's, and the others come next.
        return f"it fails still: {type(error).__name__}: {error}"
    finally:
        await effect.close()
    if admission.held:
        return f"the consumer has not come to it yet: it waits for position {admission.next_position}"
    await _remove(client, one)
    return None


def effect_of(name: str) -> Callable[[Settings, Stream], Effect]:
    """What makes the effect of a consumer, by its name without a region: the class in its module that is this
    consumer's. ValueError if there is no such consumer, or no such class."""
    module = importlib.import_module(observer.consumer(name).module)
    for found in vars(module).values():
        if isinstance(found, type) and getattr(found, "consumer", None) == name:
            make: Callable[[Settings, Stream], Effect] = found
            return make
    raise ValueError(f"{module.__name__}: expected a class whose `consumer` is {name!r}, found none")


async def _remove(client: Client, one: Stored) -> None:
    try:
        await client.jetstream().delete_msg(DEAD_LETTERS, one.sequence)
    except APIError as error:
        if error.err_code != _NO_SUCH_MESSAGE:  # Another replay was quicker.
            raise


async def _applied(effect: Effect, partition: str, deliveries: Sequence[Delivery]) -> Admission[Delivery]:
    """The running consumer moves the positions meanwhile, so it may take more than one try."""
    backoff = Backoff()
    while True:
        try:
            return (await effect.apply({partition: deliveries}))[partition]
        except Unavailable:
            await backoff.wait()


async def _deliveries(settings: Settings, stream: Stream, letter: DeadLetter) -> list[Delivery]:
    """From the outbox, which has the events as they were written, else from the letter."""
    assert letter.first is not None
    assert letter.last is not None
    opener = Opener(stream.aggregate)
    session = Session(settings, "dead-letters")
    try:
        found = await read_outbox(session, letter.partition, letter.first, letter.last + 1, opener)
    finally:
        session.close()
    if [one.position for one in found] == list(range(letter.first, letter.last + 1)):
        return found
    if letter.payload.lstrip().startswith(b"{"):
        return [Delivery(opener.event(letter.payload), None, letter.payload)]
    events, faults = opener.open(event_subject(letter.partition), f"{letter.first}-{letter.last}", letter.payload)
    if faults:
        raise msgspec.ValidationError(faults[0].reason)
    return [Delivery(event, None) for event in events]


async def _main(command: str, consumer: str | None, settings: Settings, log: logging.Logger) -> int:
    failed = 0
    async with asyncio.timeout(_CONNECTED_WITHIN_S):
        client = await bus.connect(settings, "dead-letters", DependencyState(log), log)
    try:
        async with contextlib.aclosing(stored(client, consumer)) as letters:
            async for one in letters:
                if command == "list":
                    print(one)
                    continue
                reason = await replay(client, settings, one)
                failed += reason is not None
                print(f"{one.sequence} {one.letter.consumer}: {reason or 'applied, and removed'}")
    finally:
        await client.close()
    return 1 if failed else 0


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0, 1 if a letter could not be replayed or the bus is away, 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m system.events.consuming.dead_letters",
        description="What consumers put aside because they could not apply it, one a line.",
        epilog="example: replay --consumer analytics",
    )
    parser.add_argument("command", choices=("list", "replay"), help="replay applies each and then removes it")
    parser.add_argument("--consumer", help="only of this one, as `list` shows its name")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(format="dead-letters: %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("nats").setLevel(logging.CRITICAL)
    log = logging.getLogger("covenant.dead-letters")
    try:
        return asyncio.run(_main(chosen.command, chosen.consumer, settings_.load(), log))
    except settings_.SettingsError as error:
        log.error("%s", error)
        return 2
    except (Error, OSError) as error:
        log.error("the bus did not answer: %s; start it, then try again", error or type(error).__name__)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
