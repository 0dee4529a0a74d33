"""Proof at the pair of gateways: no message crosses while their link is cut, and one does by itself when it is back.

Each is a cell of the row `bus.gateways`.
"""

from __future__ import annotations

from chaoslib.types import Configuration

from chaos.faults.activity import Activity
from chaos.faults.network.links import ends
from infra.parts import gateway
from infra.topology.model import Node

__all__ = ["gateway_carries_nothing", "message_crosses"]

_ROW = "bus.gateways"


def message_crosses(within_s: int, when: str, configuration: Configuration) -> bool:
    """Count how long a message takes from either region's gateway to the other's client; `when` says at which
    moment."""
    activity = Activity(configuration)
    for sender, receiver in _ways(activity):
        took_s = gateway.crosses(activity.system.place, sender, receiver, within_s)
        how = f"a message from {sender.name} to {receiver.name}, {when}"
        activity.count(_ROW, within_s if took_s is None else round(took_s, 3), "s", how, ok=took_s is not None)
    return True


def gateway_carries_nothing(for_s: int, configuration: Configuration) -> bool:
    """Prove that for so long no message crosses in either direction."""
    activity = Activity(configuration)
    arrived = [
        f"{sender.name} to {receiver.name}"
        for sender, receiver in _ways(activity)
        if gateway.crosses(activity.system.place, sender, receiver, for_s) is not None
    ]
    what = f"messages between the gateways of {' and '.join(ends(activity))} in {for_s} s"
    return activity.prove(what, "none", None if arrived else "none", f"some from {', '.join(arrived)}")


def _ways(activity: Activity) -> list[tuple[Node, Node]]:
    """Both directions between the gateways at the two ends of the link."""
    nodes = {node.region: node for node in activity.system.place.nodes(gateway.Gateway.kind)}
    one, other = (nodes[region] for region in ends(activity))
    return [(one, other), (other, one)]
