"""The emulator between sockets of the test's own, without namespaces: which region a packet goes to."""

from __future__ import annotations

import os
import socket
from ipaddress import IPv4Address
from itertools import permutations

import pytest

from infra.wan.emulator import Emulator
from infra.wan.links import Direction, Shape

_BEFORE_THE_DESTINATION = 10 + 14 + 16
"""virtio_net_hdr, Ethernet, and the IP header up to its last field."""


def frame_to(address: str) -> bytes:
    return bytes(_BEFORE_THE_DESTINATION) + IPv4Address(address).packed + b"payload"


class Over(Exception):
    """Ends the emulator's loop."""


@pytest.mark.parametrize(
    ("addresses", "carried"),
    [
        # The seed's: a /16 a region.
        ([["10.1.0.1", "10.1.1.1"], ["10.0.0.1", "10.0.1.1"]], "10.0.1.1"),
        # GCP's auto mode: a /20 a region.
        ([["10.150.0.1", "10.150.1.1"], ["10.164.0.1", "10.164.1.1"]], "10.164.1.1"),
        # Two regions below one /16, as subnets of one VPC are.
        ([["10.128.0.1", "10.128.6.1"], ["10.128.16.1", "10.128.22.1"]], "10.128.22.1"),
    ],
)
def test_a_packet_goes_to_the_region_of_its_address(addresses: list[list[str]], carried: str) -> None:
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in addresses]
    for ours, theirs in pairs:
        ours.setblocking(False)
        theirs.setblocking(False)
    directions = {way: Direction(Shape()) for way in permutations(range(len(addresses)), 2)}
    emulator = Emulator([ours for ours, _ in pairs], addresses, directions)
    reading, writing = os.pipe()
    os.write(writing, b"end")

    def end(file: int) -> None:
        raise Over

    nowhere = "10.199.0.1"
    pairs[0][1].send(frame_to(nowhere))
    pairs[0][1].send(frame_to(carried))
    with pytest.raises(Over):
        emulator.run(lambda: [reading], end)
    assert pairs[1][1].recv(100) == frame_to(carried)
    with pytest.raises(BlockingIOError):
        pairs[1][1].recv(100)
    assert (directions[0, 1].counters.packets, directions[1, 0].counters.packets) == (1, 0)
    os.close(reading)
    os.close(writing)
    for pair in pairs:
        for each in pair:
            each.close()
