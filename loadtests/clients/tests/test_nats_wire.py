"""The parser gives the same messages however the network cuts the bytes, and refuses what is no protocol."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.clients import nats_wire
from loadtests.clients.jetstream import ack_outcome, delivery
from loadtests.clients.payload import MIN_PAYLOAD_BYTES, head, read


class Heard:
    """Everything that a parser found, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[bytes, ...]] = []

    def on_message(self, subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
        self.events.append((subject, reply, headers, payload))

    def on_control(self, verb: bytes, argument: bytes) -> None:
        self.events.append((verb, argument))


def _msg(subject: bytes, reply: bytes, payload: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    words = [b"MSG", subject, b"1", *([reply] if reply else []), b"%d" % len(payload)]
    return b" ".join(words) + b"\r\n" + payload + b"\r\n", (subject, reply, b"", payload)


def _hmsg(subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    sizes = [b"%d" % len(headers), b"%d" % (len(headers) + len(payload))]
    words = [b"HMSG", subject, b"1", *([reply] if reply else []), *sizes]
    return b" ".join(words) + b"\r\n" + headers + payload + b"\r\n", (subject, reply, headers, payload)


tokens = st.binary(min_size=1, max_size=12).map(lambda raw: raw.hex().encode())
replies = st.one_of(st.just(b""), tokens)
# A payload may hold what looks like protocol.
payloads = st.one_of(st.binary(max_size=40), st.just(b"MSG a 1 3\r\nabc\r\nPING\r\n"), st.just(b"\r\n"))
frames = st.one_of(
    st.builds(_msg, tokens, replies, payloads),
    st.builds(_hmsg, tokens, replies, st.just(b"NATS/1.0 503\r\n\r\n"), payloads),
    st.sampled_from(
        [
            (b"PING\r\n", (b"PING", b"")),
            (b"+OK\r\n", (b"+OK", b"")),
            (b"-ERR 'Slow Consumer'\r\n", (b"-ERR", b"'Slow Consumer'")),
            (b'INFO {"headers":true}\r\n', (b"INFO", b'{"headers":true}')),
        ]
    ),
)


@given(st.lists(frames, max_size=8), st.lists(st.integers(0, 400), max_size=20))
def test_the_same_messages_however_the_bytes_are_cut(
    sent: list[tuple[bytes, tuple[bytes, ...]]], cuts: list[int]
) -> None:
    data = b"".join(raw for raw, _ in sent)
    bounds = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    pieces = [data[begin:end] for begin, end in itertools.pairwise(bounds)]
    for feed in ([data], pieces, [data[i : i + 1] for i in range(len(data))]):
        heard = Heard()
        parser = nats_wire.Parser(heard)
        for piece in feed:
            parser.feed(piece)
        assert heard.events == [event for _, event in sent]


@pytest.mark.parametrize(
    "data",
    [
        b"MSG a 1 x\r\n",
        b"MSG a 1 -4\r\n",
        b"MSG a\r\n",
        b"MSG a 1 2\r\nabcd\r\n",
        b"MSG a 1 r extra 1\r\na\r\n",
        b"HMSG a 1 9 4\r\nabcd\r\n",
        b"MSG a 1 %d\r\n" % (nats_wire.MAX_PAYLOAD_BYTES + 1),
        b"x" * (nats_wire.MAX_LINE_BYTES + 1),
    ],
)
def test_what_is_no_protocol_is_refused(data: bytes) -> None:
    with pytest.raises(nats_wire.ProtocolError, match="expected"):
        nats_wire.Parser(Heard()).feed(data)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**63), st.integers(0, 2**63))
def test_a_numbered_payload_reads_back(publisher: int, number: int, intended_ns: int) -> None:
    payload = head(publisher, number, intended_ns) + b"." * 100
    assert read(payload) == (publisher, number, intended_ns)


def test_a_payload_of_another_kind_is_no_load_message() -> None:
    assert read(b"") is None
    assert read(b"x" * MIN_PAYLOAD_BYTES) is None


ACKS: list[tuple[str, bytes, bytes, str]] = [
    ("a PubAck", b"", b'{"stream":"LOAD","seq":7}', "ok"),
    ("nobody took it", b"NATS/1.0 503\r\n\r\n", b"", "fail"),
    ("a refusal", b"", b'{"error":{"code":400,"err_code":10077,"description":"too large"}}', "fail"),
    ("a failure inside", b"", b'{"error":{"code":503,"err_code":10023,"description":"no room"}}', "unknown"),
    ("a status of another kind", b"NATS/1.0 408 Timeout\r\n\r\n", b"", "unknown"),
    ("no JSON", b"", b"{", "unknown"),
    ("an acknowledgement without a sequence", b"", b'{"stream":"LOAD"}', "unknown"),
]


@pytest.mark.parametrize(("headers", "payload", "outcome"), [each[1:] for each in ACKS], ids=[each[0] for each in ACKS])
def test_how_an_answer_to_a_publish_counts(headers: bytes, payload: bytes, outcome: str) -> None:
    found, detail = ack_outcome(headers, payload)
    assert found == outcome
    assert bool(detail) == (outcome != "ok")


def test_delivery_metadata_is_read_from_both_forms_of_the_subject() -> None:
    short = delivery(b"$JS.ACK.LOAD.c1.1.42.7.1700000000123456789.3")
    long = delivery(b"$JS.ACK.hub.ACCHASH.LOAD.c1.1.42.7.1700000000123456789.3.token")
    assert short == long == (b"c1", 42, 7, 1700000000123456789)


@pytest.mark.parametrize("reply", [b"", b"_INBOX.x.1", b"$JS.ACK.LOAD.c1.1.a.b.c.d", b"$JS.ACK.LOAD.c1"])
def test_another_subject_is_no_delivery(reply: bytes) -> None:
    assert delivery(reply) is None


def test_headers_are_read_without_regard_to_case() -> None:
    headers = b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 17\r\n\r\n"
    assert nats_wire.header_status(headers) == (100, "Idle Heartbeat")
    assert nats_wire.header_value(headers, b"nats-last-consumer") == b"17"
    assert nats_wire.header_value(headers, b"other") is None
    assert nats_wire.header_status(b"NATS/1.0\r\n\r\n") == (0, "")


def _hello(info: bytes, *, encrypted: bool = False) -> bytes:
    return nats_wire.hello(info, user="load", password="secret", name="one", encrypted=encrypted)


def test_a_server_is_greeted_with_who_we_are_and_a_ping() -> None:
    first, ping, rest = _hello(b'{"headers":true,"tls_required":true}', encrypted=True).split(b"\r\n")
    said = json.loads(first.removeprefix(b"CONNECT "))
    assert (said["user"], said["pass"], said["name"], said["no_responders"]) == ("load", "secret", "one", True)
    assert (ping, rest) == (b"PING", b"")


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (b"{}", "expected a server with headers"),
        (b'{"headers":true,"tls_required":true}', "the server wants TLS"),
        (b"[]", "expected INFO as JSON"),
    ],
)
def test_a_server_that_we_cannot_speak_with_is_refused(info: bytes, said: str) -> None:
    with pytest.raises(nats_wire.ProtocolError, match=said):
        _hello(info)
