"""The bus's users and their permissions: one user for every component, with the least that it needs. Pure data.

A user may subscribe to its own inbox alone (`_INBOX_<user>.>`), so it cannot read answers to others. Permissions for
the JetStream API name stream and durable: no component can delete, purge or change what belongs to another.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from system import wire
from system.wire import Region, Stream, observer

LOAD, OBSERVER = "load", "observer"
STREAMS_ADMIN, LETTERS_ADMIN = "streams", "dead-letters"
GATEWAY_PROBE, GATEWAY_SUBJECTS = "gateway-probe", "gateways.>"
PROMOTER = "promote"
"""The user that turns mirrors into streams when a region takes over."""
ACCOUNT, CROWD_ACCOUNT = "COVENANT", "CROWD"
"""The NATS account of all components, and the account of clients that are no component."""
CROWD = "crowd"
"""The user with which the load generator holds very many connections."""
CLUSTER = "cluster"
"""The user with which the nodes of the bus connect to each other; no client has it."""
_API = "$JS.API"
_LETTERS = wire.DEAD_LETTERS
_LOAD_STREAM = "LOAD"


@dataclass(frozen=True)
class User:
    """The subjects that a user may publish on and subscribe to, wildcards allowed; all others are refused."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def forbidden(name: str) -> User:
    """Subjects that a user must be refused: those of other users, and those that no user may use. They are listed here
    and not derived from `users`, so that a mistake there shows."""
    stream = wire.PROJECTS_STREAM.name
    others = [other for other in ("analytics", "mobile-sync-ams") if other != name]
    publish = [f"{_API}.STREAM.{verb}.{stream}" for verb in ("DELETE", "PURGE", "SNAPSHOT")]
    publish += [f"{_API}.CONSUMER.DELETE.{stream}.{other}" for other in others]
    publish += [f"$JS.ACK.{stream}.{other}.1.1.1.1.1" for other in others]
    elsewhere = {
        wire.event_subject("projects.0"): ("relay",),
        wire.PROJECTS_STREAM.health_subject: ("api", LOAD),
        f"{_API}.STREAM.UPDATE.{stream}": ("relay", STREAMS_ADMIN, PROMOTER),
        f"{_API}.STREAM.MSG.DELETE.{stream}": (PROMOTER,),
        wire.dead_letter_subject("analytics", "projects.0"): ("analytics",),
        "load.anything": (LOAD,),
    }
    publish += [subject for subject, owners in elsewhere.items() if name not in owners]
    inboxes = [f"{wire.inbox_prefix(other)}.>" for other in ("relay", "api") if other != name]
    return User(tuple(publish), (">", "covenant.>", f"{_API}.>", *inboxes))


def consumer_user(kind: str, region: str) -> str:
    """The user of a consumer's process, which is also the name of its durables: `analytics`, `mobile-sync-ams`."""
    instance = observer.ConsumerInstance(kind, region if kind in observer.per_region() else None)
    return instance.durable


def users() -> dict[str, User]:
    """Every user of the bus by name."""
    consumers = {one.durable: one for one in observer.instances(get_args(Region))}
    return {
        "relay": _relay(),
        "api": _user("api", [stream.health_subject for stream in wire.STREAMS]),
        **{name: _consumer(one) for name, one in consumers.items()},
        STREAMS_ADMIN: _user(STREAMS_ADMIN, _stream_changes([*_names(wire.STREAMS), _LETTERS])),
        LETTERS_ADMIN: _letters_admin(),
        PROMOTER: _promoter(),
        LOAD: _load(),
        OBSERVER: _observer(),
    }


def mirror_user(region: str) -> str:
    """The user with which a region's mirrors connect to the bus that they follow."""
    return f"mirror-{region}"


def mirror(region: str, domain: str) -> User:
    """What may cross the leaf connection between a region's mirrors and the bus with the JetStream domain `domain`: the
    mirrors' requests for the streams, and the streams' delivery. No published event crosses it by itself."""
    asked = [f"$JS.{domain}.API.CONSUMER.CREATE.{stream}" for stream in (*_names(wire.STREAMS), _LETTERS)]
    flow = [f"$JS.FC.{stream}.>" for stream in (*_names(wire.STREAMS), _LETTERS)]
    return User((*asked, *flow), (f"$JS.M.{region}.>", "$JSC.R.>"))


def crowd() -> User:
    """A user that may be connected and nothing more; it can only send to its own inbox."""
    inbox = f"{wire.inbox_prefix(CROWD)}.>"
    return User((inbox,), (inbox,))


def gateway_probe() -> User:
    """The only user of the gateways."""
    return User((GATEWAY_SUBJECTS,), (GATEWAY_SUBJECTS,))


def secret_names() -> list[str]:
    """The names of the bus's passwords in `Site.secrets`."""
    mirrors = [mirror_user(region) for region in get_args(Region)]
    return [secret_name(user) for user in (*users(), *mirrors, GATEWAY_PROBE, CROWD, CLUSTER)]


def secret_name(user: str) -> str:
    """The name of a user's password in `Site.secrets`."""
    return f"nats_{user}"


def _user(name: str, publish: Iterable[str]) -> User:
    return User(tuple(publish), (f"{wire.inbox_prefix(name)}.>",))


def _names(streams: Iterable[Stream]) -> list[str]:
    return [stream.name for stream in streams]


def _stream_changes(streams: Iterable[str]) -> list[str]:
    return [f"{_API}.STREAM.{verb}.{stream}" for stream in streams for verb in ("INFO", "CREATE", "UPDATE")]


def _relay() -> User:
    """Publishes events, reads what a stream holds, makes a stream that is missing, and counts dead letters."""
    events = [wire.events_filter(stream.aggregate) for stream in wire.STREAMS]
    held = [f"{_API}.STREAM.MSG.GET.{stream}" for stream in _names(wire.STREAMS)]
    return _user("relay", [*events, *_stream_changes(_names(wire.STREAMS)), *held, f"{_API}.STREAM.INFO.{_LETTERS}"])


def _consumer(instance: observer.ConsumerInstance) -> User:
    """Its own durable on every stream, the reader with which it fills gaps, and its own dead letters."""
    name = instance.durable
    allowed = [wire.dead_letter_subject(name, ">")]
    allowed += [f"{_API}.STREAM.{verb}.{_LETTERS}" for verb in ("INFO", "CREATE")]
    for stream in wire.STREAMS:
        durable = f"{stream.name}.{name}"
        gaps = f"{stream.name}.{wire.gap_reader(name)}"
        allowed += [
            f"{_API}.CONSUMER.INFO.{durable}", f"{_API}.CONSUMER.DURABLE.CREATE.{durable}",
            f"{_API}.CONSUMER.MSG.NEXT.{durable}", f"$JS.ACK.{durable}.>",
            f"{_API}.CONSUMER.CREATE.{gaps}.{wire.events_filter(stream.aggregate)}",
            f"{_API}.CONSUMER.MSG.NEXT.{gaps}", f"{_API}.CONSUMER.DELETE.{gaps}",
        ]  # fmt: skip
        # Its durable is only a cursor: it makes a new one at a sequence that it searches for in the stream.
        allowed += [
            f"{_API}.CONSUMER.DELETE.{durable}", f"{_API}.STREAM.INFO.{stream.name}",
            f"{_API}.STREAM.MSG.GET.{stream.name}",
        ]  # fmt: skip
    return _user(name, allowed)


def _letters_admin() -> User:
    """Lists dead letters and removes what was replayed."""
    consumer = ("CREATE", "MSG.NEXT", "DELETE")
    return _user(
        LETTERS_ADMIN,
        [
            f"{_API}.STREAM.INFO.{_LETTERS}",
            f"{_API}.STREAM.MSG.DELETE.{_LETTERS}",
            *(f"{_API}.CONSUMER.{verb}.{_LETTERS}.>" for verb in consumer),
        ],
    )


def _promoter() -> User:
    """Turns mirrors into streams, and removes events that the database does not know."""
    allowed = _stream_changes([*_names(wire.STREAMS), _LETTERS])
    for stream in _names(wire.STREAMS):
        allowed += [f"{_API}.STREAM.MSG.GET.{stream}", f"{_API}.STREAM.MSG.DELETE.{stream}"]
    return _user(PROMOTER, allowed)


def _load() -> User:
    """Fills, reads and removes a stream of its own, and publishes on the health subjects of the system's streams."""
    stream = _LOAD_STREAM
    allowed = (
        "load.>", *(one.health_subject for one in wire.STREAMS),
        f"{_API}.INFO", f"{_API}.STREAM.NAMES", f"{_API}.STREAM.*.{stream}",
        f"{_API}.STREAM.MSG.GET.{stream}", f"{_API}.DIRECT.GET.{stream}", f"{_API}.DIRECT.GET.{stream}.>",
        f"{_API}.CONSUMER.*.{stream}", f"{_API}.CONSUMER.*.{stream}.>", f"{_API}.CONSUMER.*.*.{stream}.>",
        f"$JS.ACK.{stream}.>", "$JS.FC.>",
    )  # fmt: skip
    return User(allowed, (f"{wire.inbox_prefix(LOAD)}.>", "load.>", "$JS.FC.>"))


def _observer() -> User:
    """Reads streams and their state, and changes nothing. It also has NATS's default inbox, since other people's tools
    use that."""
    allowed = (
        f"{_API}.INFO", f"{_API}.STREAM.INFO.*", f"{_API}.STREAM.LIST", f"{_API}.STREAM.NAMES",
        f"{_API}.STREAM.MSG.GET.*", f"{_API}.DIRECT.GET.>", f"{_API}.CONSUMER.INFO.>",
        f"{_API}.CONSUMER.LIST.*", f"{_API}.CONSUMER.NAMES.*",
    )  # fmt: skip
    return User(allowed, ("_INBOX.>", f"{wire.inbox_prefix(OBSERVER)}.>"))
