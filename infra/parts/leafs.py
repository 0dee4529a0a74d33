"""How bus nodes of different regions are joined. A node outside the bus keeps a mirror of it: it connects to the bus as
a leaf node, with a JetStream domain of its own. `infra.site.bus_users.mirror` lists what may cross that connection; no
event may, or it would be stored at both ends.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from infra.site import bus_layout, bus_users
from infra.site.bus_users import User
from infra.site.site import Place, Site
from infra.topology.model import Node

_FOLLOWED = "followed"


def joined(place: Place, node: Node, settings: Mapping[str, Any], tls: Mapping[str, Any] | None) -> dict[str, Any]:
    """A node's settings with its domain, its leaf connections, and the users that it admits: all if it is the bus now,
    and only the one that makes mirrors if it is not. `tls` are the settings of a listener; None without TLS."""
    if not bus_layout.mirrored(place):
        return dict(settings)
    active = bus_layout.active_region(place)
    serves = node in bus_layout.bus(place)
    leafs: dict[str, Any] = _listener(place, node, tls) if serves else _remote(place, node, tls)
    return {
        **settings,
        "jetstream": {**settings["jetstream"], "domain": node.region},
        "leafnodes": leafs,
        "authorization": {"users": _users(place, active) if serves else _closed(settings["authorization"]["users"])},
    }


def forget_stale(place: Place, node: Node) -> None:
    """Call it before a start: it deletes the node's store if that is a copy of another bus than the one to follow now.
    Events that it held are in the bus, or the relay publishes them again from the outbox."""
    if not bus_layout.mirrored(place):
        return
    folder, active = place.site.folder(node), bus_layout.active_region(place)
    if node.region != active and followed(place, node) not in (None, active):
        shutil.rmtree(folder / "store", ignore_errors=True)
    (folder / _FOLLOWED).write_text(active)


def followed(place: Place, node: Node) -> str | None:
    """The region that was active when this node last started: its store is of that region's bus. None before its first
    start."""
    try:
        return (place.site.folder(node) / _FOLLOWED).read_text()
    except FileNotFoundError:
        return None


def login(site: Site, name: str, user: User) -> dict[str, Any]:
    """A user in the format of the server's configuration."""
    permissions = {"publish": list(user.publish), "subscribe": list(user.subscribe)}
    return {"user": name, "password": site.secrets[bus_users.secret_name(name)], "permissions": permissions}


def _listener(place: Place, node: Node, tls: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "listen": place.endpoint(node, "leaf"),
        "no_advertise": True,
        **({"tls": {**tls, "handshake_first": True}} if tls else {}),
    }


def _remote(place: Place, node: Node, tls: Mapping[str, Any] | None) -> dict[str, Any]:
    name = bus_users.mirror_user(node.region)
    signed_in = f"{name}:{place.site.secrets[bus_users.secret_name(name)]}"
    scheme = "tls" if tls else "nats"
    remote: dict[str, Any] = {
        "urls": [f"{scheme}://{signed_in}@{place.endpoint(one, 'leaf')}" for one in bus_layout.bus(place)],
        "account": bus_users.ACCOUNT,
    }
    if tls:
        shown = {key: tls[key] for key in ("cert_file", "key_file", "ca_file", "min_version", "timeout")}
        remote["tls"] = {**shown, "handshake_first": True}
    return {"remotes": [remote], "reconnect": 1}


def _users(place: Place, active: str) -> list[dict[str, Any]]:
    mirrors = {
        bus_users.mirror_user(region): bus_users.mirror(region, active) for region in bus_layout.followers(place)
    }
    return [login(place.site, name, user) for name, user in {**bus_users.users(), **mirrors}.items()]


def _closed(users: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Only the user that makes the mirrors."""
    return [user for user in users if user["user"] == bus_users.STREAMS_ADMIN]
