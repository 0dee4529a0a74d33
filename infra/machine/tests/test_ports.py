"""Port blocks: never shared, given back, below the ports of outgoing connections."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from infra.machine import ports


def test_two_claims_never_overlap() -> None:
    blocks = [ports.claim() for _ in range(5)]
    try:
        taken = [port for block in blocks for port in block.assign(["a", "b", "c"]).values()]
        assert len(set(taken)) == len(taken)
    finally:
        for block in blocks:
            block.close()


def test_ports_can_be_listened_on_and_stay_clear_of_outgoing_ones() -> None:
    block = ports.claim()
    lowest_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    try:
        for port in block.assign(["a", "b"]).values():
            assert port + 10_000 < lowest_outgoing
            with socket.socket() as server:
                # As every server does: connections of an earlier system may still be in TIME_WAIT there.
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.bind(("127.0.0.1", port))
    finally:
        block.close()


def test_block_is_free_again_after_close() -> None:
    block = ports.claim()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", block.base))
    block.close()
    with socket.socket() as other:
        other.bind(("127.0.0.1", block.base))


def test_more_names_than_ports_are_refused() -> None:
    block = ports.claim()
    try:
        with pytest.raises(ports.NoPorts, match="this one wants 400"):
            block.assign([str(number) for number in range(400)])
    finally:
        block.close()


def test_a_free_port_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", ports.free_port())) as server:
        assert server.getsockname()[0] == "127.0.0.1"
