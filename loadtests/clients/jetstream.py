"""What JetStream says in its messages: publish acknowledgements, delivery metadata, consumer control.

Pure. See https://docs.nats.io/reference/reference-protocols/nats_api_reference
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from loadtests.clients.nats_wire import header_status
from reports.evidence import Outcome


class _ApiError(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _PubAck(msgspec.Struct):
    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: _ApiError | None = None


_decode_ack = msgspec.json.Decoder(_PubAck).decode


def ack_outcome(headers: bytes, payload: bytes) -> tuple[Outcome, str]:
    """How a publish ended, by the answer to it: (outcome, what was found unless ok).

    No responders means that no stream took the message: fail. An error of class 4xx is a refusal: fail. A 5xx
    (no quorum, store failure) may come after the message was proposed: unknown.
    """
    code, text = header_status(headers) if headers else (0, "")
    if code:
        return ("fail" if code == 503 else "unknown"), f"status {code} {text}".rstrip()
    try:
        ack = _decode_ack(payload)
    except msgspec.MsgspecError as error:
        return "unknown", f"not a PubAck: {error}"
    if ack.error is not None:
        refused = 400 <= ack.error.code < 500
        return ("fail" if refused else "unknown"), f"{ack.error.description} ({ack.error.err_code})"
    if ack.seq < 1:
        return "unknown", "a PubAck without a sequence"
    return "ok", ""


class Delivery(NamedTuple):
    """What a push consumer's reply subject says of a message."""

    consumer: bytes
    stream_seq: int
    consumer_seq: int
    stored_ns: int
    """When the stream's leader took it, in ns since 1970 by its clock."""


def delivery(reply: bytes) -> Delivery | None:
    """The metadata in a `$JS.ACK.` subject, None if it is none.

    `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<ns>.<pending>`, in newer servers
    with domain and account after `$JS.ACK` and possibly a token at the end.
    """
    words = reply.split(b".")
    if reply[:8] != b"$JS.ACK." or len(words) < 9:
        return None
    at = 3 if len(words) == 9 else 5
    try:
        stream_seq, consumer_seq, stored_ns = map(int, words[at + 2 : at + 5])
        return Delivery(words[at], stream_seq, consumer_seq, stored_ns)
    except ValueError:
        return None
