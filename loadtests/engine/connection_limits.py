"""How many connections this machine can hold at both ends, and what limits them: stated before any is opened.

Each broker and each holder is a process with a limit of open files; both ends cost memory; a source address has so
many ports towards each server; and a run has so much time to open them in. Pure but for `machine`.
"""

from __future__ import annotations

import math
import resource
from pathlib import Path

import msgspec

from infra.machine import processes
from infra.machine.memory import available_bytes

CONNECTION_BYTES = 160 * 1024
"""Both ends of one over TLS: 85 KB in nats-server, 35 KB in the holder, the kernel's buffers; seen on 6,000."""
_MEMORY_SHARE = 0.6
"""Of what is available: the system goes on working beside them."""
_SERVER_RESERVE = 500
"""A broker's files and connections that are none of the storm's."""
_HOLDER_RESERVE = 200
_PORTS_RESERVE = 1000
HOLDERS_MAX = 8


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine allows."""

    server_files: list[int]
    """Open files that each broker may have."""
    holder_files: int
    """Open files that a process of ours may have."""
    memory_bytes: int
    ports: int
    """Ephemeral ports of one address towards one server."""


class Allowed(msgspec.Struct, frozen=True, kw_only=True):
    connections: int
    holders: int
    """Processes that it takes to hold them."""
    limited_by: str | None
    """What allows no more, in words; None if nothing does."""


def allowed(wanted: int, machine: Machine, *, per_s: float, opening_s: float) -> Allowed:
    """How many of `wanted` connections can be opened at `per_s` within `opening_s` and be held."""
    servers, files, holder = len(machine.server_files), min(machine.server_files), machine.holder_files
    each = max(1, holder - _HOLDER_RESERVE)
    bounds = [
        (servers * (files - _SERVER_RESERVE), f"{files:,} open files in each of {servers} brokers (ulimit -Hn)"),
        (HOLDERS_MAX * each, f"{holder:,} open files in each of {HOLDERS_MAX} processes that hold them (ulimit -Hn)"),
        (
            math.floor(machine.memory_bytes * _MEMORY_SHARE / CONNECTION_BYTES),
            f"{machine.memory_bytes / 2**30:.1f} GiB of memory available, of which {_MEMORY_SHARE:.0%} may go to "
            f"connections of {CONNECTION_BYTES // 1024} KiB",
        ),
        (servers * (machine.ports - _PORTS_RESERVE), f"{machine.ports:,} ports of an address towards each broker"),
        (
            math.floor(per_s * opening_s),
            f"{opening_s:.0f} s in which to open {per_s:,.0f} a second: a longer --duration opens more",
        ),
    ]
    count, why = min(bounds)
    connections = max(0, min(wanted, count))
    return Allowed(
        connections=connections,
        holders=max(1, math.ceil(connections / each)),
        limited_by=why if count < wanted else None,
    )


def machine(run_id: str, servers: int) -> Machine:
    """What this machine allows towards the brokers of the system `run_id`; `servers` of them where their processes
    cannot be seen, with the limit that this process has."""
    own = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    return Machine(
        server_files=processes.open_file_limits(run_id, "nats") or [own] * servers,
        holder_files=own,
        memory_bytes=available_bytes(),
        ports=high - low + 1,
    )


def shares(connections: int, holders: int) -> list[int]:
    """How many of them each holder has."""
    return [connections // holders + (one < connections % holders) for one in range(holders)]
