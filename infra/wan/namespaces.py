"""Network namespaces without root: inside a user namespace of our own we may make one for the router and one for each
region.

A region has one interface, `wan`, with the addresses of the region and its zones, and a route to every other region.
The interface's other end is in the router's namespace, where the emulator reads and writes whole packets.
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pyroute2 import IPRoute

from infra.machine.drop_privileges import ordinary_uid

MTU = 1500
_NEWUSER, _NEWNET = 0x1000_0000, 0x4000_0000
_MAC = "02:00:00:00:00:01"
"""All regions have the same, so that a packet can be passed on unchanged."""
_NO_ARP = 0x80
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Region:
    """A region as a network: its addresses (first the region's own, then its zones') and its CIDR."""

    name: str
    addresses: Sequence[str]
    cidr: str


def enter_user_namespace() -> None:
    """Move this process, which may have one thread, to a user namespace of its own. OSError if the machine forbids it.

    There is no way back, so open files and sockets of the outside before.
    """
    user, group = os.geteuid(), os.getegid()
    inner = ordinary_uid()  # PostgreSQL refuses to run as root, or as a user without an entry.
    _call("unshare", _NEWUSER | _NEWNET)
    for name, value in (
        ("setgroups", "deny"),
        ("uid_map", f"{inner} {user} 1"),
        ("gid_map", f"{inner} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123 - must be one write, unbuffered by Path's habits
            file.write(value)


def new_network() -> int:
    """Make a network namespace and move this thread into it; a descriptor that keeps the namespace alive."""
    _call("unshare", _NEWNET)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def inside(network: int) -> Iterator[None]:
    """Sockets that this thread opens within the block belong to another network namespace."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    _call("setns", network, _NEWNET)
    try:
        yield
    finally:
        _call("setns", home, _NEWNET)
        os.close(home)


def move_to(network: int) -> None:
    """Move this thread to a network namespace for good."""
    _call("setns", network, _NEWNET)


def lay_out(regions: Sequence[Region]) -> tuple[int, list[int]]:
    """Make a namespace for each region and one for the router, bring their interfaces up, and move this thread into the
    router's. The router's end of a region's link is named `interface(index)`.

    Returns the descriptor of the router's namespace, and those of the regions in their order.
    """
    networks = []
    for _ in regions:
        networks.append(new_network())
    router = new_network()
    with IPRoute() as route:
        for index, network in enumerate(networks):
            ours = interface(index)
            route.link("add", ifname=ours, kind="veth", mtu=MTU, peer={
                "ifname": "wan", "mtu": MTU, "address": _MAC, "net_ns_fd": network,
            })  # fmt: skip
            (link,) = route.link_lookup(ifname=ours)
            route.link("set", index=link, flags=_NO_ARP, change=_NO_ARP, txqlen=2000, state="up")
    for region, network in zip(regions, networks, strict=True):
        with inside(network):
            _bring_up(region, [other for other in regions if other is not region])
    return router, networks


def interface(index: int) -> str:
    """The name of the router's interface to a region."""
    return f"r{index}"


def _bring_up(region: Region, others: Sequence[Region]) -> None:
    with IPRoute() as route:
        (loopback,) = route.link_lookup(ifname="lo")
        route.link("set", index=loopback, state="up")
        (wan,) = route.link_lookup(ifname="wan")
        route.link("set", index=wan, flags=_NO_ARP, change=_NO_ARP, txqlen=2000, state="up")
        for address in region.addresses:
            route.addr("add", index=wan, address=address, prefixlen=32)
        for other in others:
            route.route("add", dst=other.cidr, oif=wan, scope="link", prefsrc=region.addresses[0])


def packet_socket(index: int) -> socket.socket:
    """A socket that reads and writes a region's packets: whole frames, each after a header for offloads."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        made.setsockopt(socket.SOL_SOCKET, option, 16 * 1024 * 1024)  # The kernel lowers it to its limit.
    made.setblocking(False)
    # Bound to one protocol, the socket does not receive what it sends itself.
    made.bind((interface(index), _ETH_P_IP))
    return made


_SOL_PACKET, _PACKET_VNET_HDR, _ETH_P_IP = 263, 15, 0x0800


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
