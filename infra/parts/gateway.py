"""Two tiny NATS clusters joined by a gateway, which carries messages between the regions of a super-cluster without
leaf connections and without JetStream. The system does not use it; it runs so that gateways can be tested.

A gateway forwards a message only to a cluster with a known subscriber, and reconnects by itself when its link is back.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import suppress
from typing import Any, ClassVar

from nats.aio.client import Client
from nats.errors import Error

from infra.parts import leafs, nats
from infra.parts.nats import Nats
from infra.site import bus_users, certificates
from infra.site.site import Place
from infra.topology.model import Node
from system import wire

_CONNECT_WITHIN_S = 3.0
_ROUND_S = 0.25
"""How long to wait for one message: more than a round trip of the longest link."""


class Gateway(Nats):
    kind = "gateway"
    port_names: ClassVar[tuple[str, ...]] = ("client", "gateway", "monitor")

    def waiting_for(self) -> str | None:
        page = nats.monitor(self.place, self.node, "/gatewayz")
        if page is None:
            return "its monitoring page"
        others = {other.region for other in self.place.nodes(self.kind)} - {self.node.region}
        absent = others - page.get("outbound_gateways", {}).keys()
        return f"its gateway to {', '.join(sorted(absent))}" if absent else None

    def _settings(self) -> dict[str, Any]:
        settings = super()._settings()
        del settings["jetstream"]
        users = [leafs.login(self.site, bus_users.GATEWAY_PROBE, bus_users.gateway_probe())]
        return {**settings, "authorization": {"users": users}}

    def _peers(self) -> dict[str, Any]:
        secret, tls = self.site.secrets[bus_users.secret_name(bus_users.CLUSTER)], self._tls()
        return {
            "gateway": {
                "name": self.node.region,
                "listen": self.place.endpoint(self.node, "gateway"),
                "authorization": {"user": bus_users.CLUSTER, "password": secret},
                "gateways": [
                    {
                        "name": other.region,
                        "urls": [f"nats://{bus_users.CLUSTER}:{secret}@{self.place.endpoint(other, 'gateway')}"],
                    }
                    for other in self.place.nodes(self.kind)
                ],
                "reject_unknown_cluster": True,
                **({"tls": tls} if tls else {}),
            }
        }

    def _joined(self, settings: dict[str, Any]) -> dict[str, Any]:
        return settings


def crosses(place: Place, sender: Node, receiver: Node, within_s: float) -> float | None:
    """Send messages from a client of one gateway node to a client of another until one arrives. The seconds until then;
    None if none arrived within `within_s`."""
    return asyncio.run(_crosses(place, sender, receiver, within_s))


async def _crosses(place: Place, sender: Node, receiver: Node, within_s: float) -> float | None:
    began = time.monotonic()
    subject = f"{bus_users.GATEWAY_SUBJECTS.removesuffix('>')}{uuid.uuid4().hex}"
    here, there = Client(), Client()
    try:
        async with asyncio.timeout(within_s):
            await _connect(here, place, sender)
            await _connect(there, place, receiver)
            arrivals = await there.subscribe(subject)
            await there.flush()
            while True:
                await here.publish(subject, b"")
                with suppress(TimeoutError):
                    await arrivals.next_msg(timeout=_ROUND_S)
                    return time.monotonic() - began
    except (TimeoutError, OSError, Error):
        return None
    finally:
        await here.close()
        await there.close()


async def _connect(client: Client, place: Place, node: Node) -> None:
    on = place.site.options.tls == "on"
    name = bus_users.GATEWAY_PROBE
    # The library's own connect can hang past its timeouts on a refused port.
    async with asyncio.timeout(_CONNECT_WITHIN_S):
        await client.connect(
            f"nats://{place.outside(node, 'client')}",
            user=name,
            password=place.site.secrets[bus_users.secret_name(name)],
            inbox_prefix=wire.inbox_prefix(name),
            tls=certificates.context(place.site) if on else None,
            tls_handshake_first=on,
            allow_reconnect=False,
            error_cb=_ignore,
        )


async def _ignore(error: Exception) -> None:
    """An error that matters shows as a message that does not arrive."""
