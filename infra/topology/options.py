"""The options of a system besides its size. Each is shown beside the figures that it changes."""

from __future__ import annotations

from typing import Literal, get_args, get_type_hints

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults give what the reference system promises; other values show what they cost or save."""

    durability: Literal["async", "standby", "any-1"] = "standby"
    """What a commit waits for: the primary's disk alone, its region's standby, or any one other member."""
    bus: Literal["regional", "stretched"] = "regional"
    """Where the nodes of the bus are: in the zones of one region, or in three regions."""
    sync_interval: Literal["always", "2m"] = "always"
    """When NATS syncs to disk: before each acknowledgement, or every two minutes, which is its default."""
    tls: Literal["on", "off"] = "on"
    """TLS 1.3 between parts and to clients."""
    encryption: Literal["on", "off"] = "on"
    """AES encryption of the bus's store."""
    supervisor: Literal["on", "off"] = "on"
    """Whether dead parts are started again and orphaned databases fenced."""
    distance: Literal["on", "off"] = "on"
    """Whether regions are apart (network namespaces), where the machine allows it."""


DEFAULTS = Options()


def parse(arguments: list[str]) -> Options:
    """`["durability=any-1", "tls=off"]` -> Options. ValueError says what can be chosen."""
    kinds = _values()
    chosen: dict[str, str] = {}
    for choice in arguments:
        name, _, value = choice.partition("=")
        if name not in kinds:
            raise ValueError(f"expected one of {', '.join(f'{known}=...' for known in kinds)}; found {choice!r}")
        if value not in kinds[name]:
            raise ValueError(f"{name}: expected {'|'.join(kinds[name])}, found {value!r}")
        chosen[name] = value
    return msgspec.convert(chosen, Options)


def choices() -> list[str]:
    """What `parse` takes, in words: `tls=on|off`. The bus is left out, since it has an option of its own."""
    return [f"{name}={'|'.join(values)}" for name, values in _values().items() if name != "bus"]


def _values() -> dict[str, tuple[str, ...]]:
    return {name: get_args(kind) for name, kind in get_type_hints(Options).items()}
