"""The bus: its streams, what is published on which subject, what a message may hold, and who hears what."""

from __future__ import annotations

from typing import Literal

import msgspec

MESSAGE_ID_HEADER = "Nats-Msg-Id"
POSITIONS_HEADER = "Covenant-Positions"
"""`first-last`: the positions of the events in a message, known even if its body cannot be read."""
PARTITIONS = 4
"""Partitions a stream: an aggregate's events always go to the same one, and are in order there."""
EVENTS_A_MESSAGE_MAX = 500
MESSAGE_BYTES_MAX = 512 * 1024
"""How much the relay puts into one message; a single event that is larger has a message to itself."""

Aggregate = Literal["countries", "projects", "users", "incidents"]


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A JetStream stream: limits are the seed's. A message is a JSON array of events of one partition, with
    positions that follow on one another."""

    name: str
    aggregate: Aggregate
    subjects: list[str]
    max_msgs: int
    max_age_s: int
    health_subject: str
    """A publish here proves that the stream takes messages; consumers of events do not see it."""


def _stream(aggregate: Aggregate, prefix: str, max_msgs: int, days: int) -> Stream:
    return Stream(
        name=prefix.upper().replace(".", "_"),
        aggregate=aggregate,
        subjects=[f"{prefix}.>"],
        max_msgs=max_msgs,
        max_age_s=days * 86_400,
        health_subject=f"{prefix}.health",
    )


COUNTRIES_STREAM = _stream("countries", "covenant.countries", 1_000_000, 30)
PROJECTS_STREAM = _stream("projects", "covenant.projects", 1_000_000, 30)
USERS_STREAM = _stream("users", "covenant.users", 100_000, 7)
INCIDENTS_STREAM = _stream("incidents", "alerts.incidents", 10_000, 1)
STREAMS = (COUNTRIES_STREAM, PROJECTS_STREAM, USERS_STREAM, INCIDENTS_STREAM)
_BY_AGGREGATE = {stream.aggregate: stream for stream in STREAMS}

DEAD_LETTERS = "COVENANT_DEAD_LETTERS"
"""The stream of what a consumer could not apply; each message is a DeadLetter."""
DEAD_LETTERS_SUBJECTS = "covenant.dead-letters.>"
DEAD_LETTERS_MSGS_MAX = 100_000
DEAD_LETTERS_AGE_S = 30 * 86_400


def stream_of(aggregate: Aggregate) -> Stream:
    """The stream that carries the events of an aggregate."""
    return _BY_AGGREGATE[aggregate]


def partitions_of(aggregate: Aggregate) -> tuple[str, ...]:
    """`projects.0` ... `projects.3`."""
    return tuple(f"{aggregate}.{number}" for number in range(PARTITIONS))


ALL_PARTITIONS = tuple(partition for stream in STREAMS for partition in partitions_of(stream.aggregate))


def event_subject(partition: str) -> str:
    """`covenant.projects.events.2`: what the events of a partition (`projects.2`) are published on."""
    aggregate, _, number = partition.partition(".")
    return f"{_prefix(aggregate)}.events.{number}"


def events_filter(aggregate: Aggregate) -> str:
    """All events of an aggregate, without health probes."""
    return f"{_prefix(aggregate)}.events.>"


def inbox_prefix(user: str) -> str:
    """The beginning of the subjects on which a user of the bus hears answers; no other user may hear them."""
    return f"_INBOX_{user}"


def gap_reader(durable: str) -> str:
    """The name of the consumer with which a durable's owner reads again what it was not given."""
    return f"{durable}-gaps"


def dead_letter_subject(consumer: str, partition: str) -> str:
    """`covenant.dead-letters.analytics.projects.2`."""
    return f"covenant.dead-letters.{consumer}.{partition}"


def _prefix(aggregate: str) -> str:
    return _BY_AGGREGATE[msgspec.convert(aggregate, Aggregate)].health_subject.removesuffix(".health")
