"""The AsyncAPI document against the wire: every stream and kind of event is in it, and real messages fit it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from system import wire
from system.api.http.asyncapi import asyncapi, document
from system.wire import EVENT_KINDS, STREAMS, DeadLetter, Event, Project, ProjectEvent, Refusal, Stream, UserEvent

DOCUMENT = msgspec.json.decode(msgspec.json.encode(document()))
CHANNELS, MESSAGES = DOCUMENT["channels"], DOCUMENT["components"]["messages"]
encode = msgspec.json.Encoder(decimal_format="number").encode


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for one in node:
            yield from references(one)


def resolve(reference: str) -> Any:
    node = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def fits(payload: dict[str, Any], value: object) -> bool:
    schema = {**payload, "components": DOCUMENT["components"]}
    validator = jsonschema_rs.validator_for(schema)
    return bool(validator.is_valid(msgspec.json.decode(encode(value))))


def event(**changes: Any) -> ProjectEvent:
    project = Project(
        id="00000000-0000-4000-8000-000000000001", name="P", region="syd", country_code="AUS", sector="Health",
        status="Pending", funding_usd_millions=Decimal("1.25"), version=1,
    )  # fmt: skip
    values: dict[str, Any] = {
        "id": project.id, "type": "created", "aggregate": "projects", "aggregate_id": project.id,
        "partition": "projects.0", "position": 1, "region": "syd", "occurred_at": "2026-01-01T00:00:00Z",
        "before": None, "after": project,
    }  # fmt: skip
    return ProjectEvent(**{**values, **changes})


def test_it_is_an_asyncapi_3_document() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(DOCUMENT["info"])
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] in ("send", "receive")
        channel = operation["channel"]["$ref"]
        # An operation's messages are some of its channel's.
        assert all(one["$ref"].startswith(f"{channel}/messages/") for one in operation["messages"])
    assert {operation["channel"]["$ref"] for operation in DOCUMENT["operations"].values()} == {
        f"#/channels/{name}" for name in CHANNELS
    }


def test_every_reference_resolves() -> None:
    found = set(references(DOCUMENT))
    assert len(found) > 10
    assert all(isinstance(resolve(reference), dict) for reference in found)


def test_every_parameter_of_an_address_is_described() -> None:
    for channel in CHANNELS.values():
        assert set(re.findall(r"{(\w+)}", channel["address"])) == set(channel.get("parameters", {}))


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
def test_every_stream_is_a_channel_with_its_own_kind_of_event(stream: Stream) -> None:
    channel = CHANNELS[stream.aggregate]
    addresses = [channel["address"].format(partition=one) for one in channel["parameters"]["partition"]["enum"]]
    assert addresses == [wire.event_subject(f"{stream.aggregate}.{number}") for number in range(wire.PARTITIONS)]
    assert channel["x-jetstream"] == {"stream": stream.name, "max_msgs": stream.max_msgs, "max_age_s": stream.max_age_s}
    [message] = [resolve(one["$ref"]) for one in channel["messages"].values()]
    kind = EVENT_KINDS[stream.aggregate]
    assert message["payload"]["items"] == {"$ref": f"#/components/schemas/{kind.__name__}"}
    assert message["payload"]["maxItems"] == wire.EVENTS_A_MESSAGE_MAX
    assert set(message["headers"]["required"]) == {wire.MESSAGE_ID_HEADER, wire.POSITIONS_HEADER}
    properties = DOCUMENT["components"]["schemas"][kind.__name__]["properties"]
    assert set(properties) == set(kind.__struct_fields__)


def test_dead_letters_and_server_sent_events_are_channels() -> None:
    assert CHANNELS["deadLetters"]["address"] == wire.dead_letter_subject("{consumer}", "{partition}")
    assert set(DOCUMENT["components"]["schemas"]["DeadLetter"]["properties"]) == set(DeadLetter.__struct_fields__)
    assert CHANNELS["serverSentEvents"]["address"] == wire.EVENTS
    kinds = {one["$ref"].rpartition("/")[2] for one in MESSAGES["serverSentEvent"]["payload"]["anyOf"]}
    assert kinds == {kind.__name__ for kind in EVENT_KINDS.values()}
    pattern = MESSAGES["serverSentEvent"]["headers"]["properties"]["event"]["pattern"]
    assert re.match(pattern, "incidents.updated")
    assert not re.match(pattern, "updated")


def test_real_messages_fit_and_others_do_not() -> None:
    frame = MESSAGES["projects"]["payload"]
    assert fits(frame, [event(), event(position=2, type="deleted", after=None)])
    assert not fits(frame, [])
    assert not fits(frame, [event()] * (wire.EVENTS_A_MESSAGE_MAX + 1))
    assert not fits(frame, [event(type="renamed")])
    assert not fits(frame, [event(region="mars")])
    assert fits(MESSAGES["serverSentEvent"]["payload"]["anyOf"][1], event())


def test_a_refusal_and_a_dead_letter_fit() -> None:
    refusal = Refusal(
        client_id="anonymous", region="ams", method="GET", route="/", status=401, reason="no token", count=1,
        last_at="2026-01-01T00:00:00Z",
    )  # fmt: skip
    refused = UserEvent(
        id="1", type="refused", aggregate="users", aggregate_id="anonymous", partition="users.0", position=1,
        region="ams", occurred_at="2026-01-01T00:00:00Z", before=None, after=None, refusal=refusal,
    )  # fmt: skip
    letter = DeadLetter(
        consumer="analytics", region="iad", stream="COVENANT_USERS", sequence=7, partition="users.0", first=1, last=1,
        reason="cannot be read", failed_at="2026-01-01T00:00:00Z", payload=encode([refused]),
    )  # fmt: skip
    assert fits(MESSAGES["users"]["payload"], [refused])
    assert fits(MESSAGES["deadLetter"]["payload"], letter)


def test_money_is_a_number() -> None:
    assert DOCUMENT["components"]["schemas"]["Project"]["properties"]["funding_usd_millions"] == {"type": "number"}
    assert all("decimal" not in str(schema) for schema in DOCUMENT["components"]["schemas"].values())


def test_every_event_has_the_common_part() -> None:
    for kind in EVENT_KINDS.values():
        required = DOCUMENT["components"]["schemas"][kind.__name__]["required"]
        assert set(Event.__struct_fields__) <= set(required)


def test_it_is_served() -> None:
    with TestClient(Litestar([asyncapi], openapi_config=None)) as client:
        answer = client.get(wire.ASYNCAPI)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/vnd.aai.asyncapi+json;version=3.0.0"
    assert answer.json() == DOCUMENT
