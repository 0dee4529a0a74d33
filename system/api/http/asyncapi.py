"""The AsyncAPI document: channels, messages and schemas of the bus, generated from the types that encode them."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from litestar import get

from system import wire
from system.api.http.messages import Answer
from system.api.http.openapi import with_numbers
from system.wire import EVENT_KINDS, STREAMS, DeadLetter, EventType, Stream

MEDIA_TYPE = b"application/vnd.aai.asyncapi+json;version=3.0.0"
_REFERENCE = "#/components/schemas/{name}"
_ABOUT = (
    "Every change of Covenant. An aggregate's events are all in one partition and in order there; `position` counts a "
    "partition's events from 1 without gaps, so that a subscriber knows what it has had and what it lacks: a message "
    "may come again, an event must not take effect again."
)
_PARTITION = "The first byte of the SHA-256 of the aggregate's id,"
_POSITIONS = "The last position in each partition, as `countries.0:3,projects.2:17`."


@get(wire.ASYNCAPI)
async def asyncapi() -> Answer:
    return Answer(_DOCUMENT, media_type=MEDIA_TYPE)


def document() -> dict[str, Any]:
    """The AsyncAPI 3.0 document."""
    kinds = [*EVENT_KINDS.values(), DeadLetter]
    references, schemas = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    events = dict(zip(EVENT_KINDS, references, strict=False))
    names = [stream.aggregate for stream in STREAMS]
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Covenant events", "version": "1", "description": _ABOUT},
        "defaultContentType": "application/json",
        "channels": {
            **{stream.aggregate: _channel(stream) for stream in STREAMS},
            "deadLetters": _dead_letters(),
            "serverSentEvents": _server_sent_events(),
        },
        "operations": {
            **{f"publish-{name}": _sends(name, name) for name in names},
            "publish-dead-letters": _sends("deadLetters", "deadLetter"),
            "stream-events": {**_sends("serverSentEvents", "serverSentEvent"), "bindings": {"http": {"method": "GET"}}},
        },
        "components": {
            "messages": {
                **{name: _frame(name, events[name]) for name in names},
                "deadLetter": {
                    "title": "What a consumer could not apply, and why",
                    "contentType": "application/json",
                    "payload": references[-1],
                },
                "serverSentEvent": _server_sent_event(list(events.values())),
            },
            "schemas": with_numbers(schemas),
        },
    }


def _channel(stream: Stream) -> dict[str, Any]:
    partition = f"{stream.aggregate}.{{partition}}"
    numbers = [str(number) for number in range(wire.PARTITIONS)]
    return {
        "address": wire.event_subject(partition),
        "title": f"Events of {stream.aggregate}",
        "description": f"JetStream stream {stream.name}; all of it: `{wire.events_filter(stream.aggregate)}`.",
        "parameters": {"partition": {"enum": numbers, "description": f"{_PARTITION} modulo {wire.PARTITIONS}."}},
        "messages": {stream.aggregate: {"$ref": f"#/components/messages/{stream.aggregate}"}},
        "x-jetstream": _limits(stream.name, stream.max_msgs, stream.max_age_s),
    }


def _dead_letters() -> dict[str, Any]:
    return {
        "address": wire.dead_letter_subject("{consumer}", "{partition}"),
        "title": "Dead letters",
        "description": f"JetStream stream {wire.DEAD_LETTERS}. A letter is removed once it was replayed.",
        "parameters": {
            "consumer": {"examples": ["analytics", "cache-invalidator-ams"]},
            "partition": {"examples": ["projects.2"]},
        },
        "messages": {"deadLetter": {"$ref": "#/components/messages/deadLetter"}},
        "x-jetstream": _limits(wire.DEAD_LETTERS, wire.DEAD_LETTERS_MSGS_MAX, wire.DEAD_LETTERS_AGE_S),
    }


def _server_sent_events() -> dict[str, Any]:
    return {
        "address": wire.EVENTS,
        "title": "Events over HTTP (text/event-stream)",
        "description": "From any API process, with a bearer token; resumes behind Last-Event-ID.",
        "messages": {"serverSentEvent": {"$ref": "#/components/messages/serverSentEvent"}},
    }


def _frame(aggregate: str, event: dict[str, Any]) -> dict[str, Any]:
    """A message on a stream: events of one partition with consecutive positions."""
    most = wire.EVENTS_A_MESSAGE_MAX
    headers = {
        wire.MESSAGE_ID_HEADER: {
            "type": "string",
            "description": "The same whenever the same events are published: `<partition>:<first>-<last>:<event id>`.",
        },
        wire.POSITIONS_HEADER: {
            "type": "string",
            "pattern": "^[1-9][0-9]*-[1-9][0-9]*$",
            "description": "The positions of the first and of the last event.",
        },
    }
    return {
        "title": f"1 to {most} events of {aggregate}; {wire.MESSAGE_BYTES_MAX} bytes unless one alone has more",
        "contentType": "application/json",
        "headers": {"type": "object", "required": list(headers), "properties": headers},
        "payload": {"type": "array", "minItems": 1, "maxItems": most, "items": event},
    }


def _server_sent_event(events: list[dict[str, Any]]) -> dict[str, Any]:
    kinds, types = "|".join(EVENT_KINDS), "|".join(get_args(EventType))
    fields = {
        "id": {"type": "string", "description": _POSITIONS},
        "event": {"type": "string", "pattern": rf"^({kinds})\.({types})$"},
    }
    return {
        "title": "An event; a block with an id alone tells where a reader stands",
        "contentType": "text/event-stream",
        "headers": {"type": "object", "properties": fields},
        "payload": {"description": "What `data` holds, in one line.", "anyOf": events},
    }


def _sends(channel: str, message: str) -> dict[str, Any]:
    reference = f"#/channels/{channel}"
    return {
        "action": "send",
        "channel": {"$ref": reference},
        "messages": [{"$ref": f"{reference}/messages/{message}"}],
    }


def _limits(name: str, max_msgs: int, max_age_s: int) -> dict[str, Any]:
    return {"stream": name, "max_msgs": max_msgs, "max_age_s": max_age_s}


_DOCUMENT = msgspec.json.encode(document())
