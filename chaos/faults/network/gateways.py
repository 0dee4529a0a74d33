"""Chaos Toolkit probes for the pair of gateways: whether a message crosses, that none does over a cut link, and that it
does again by itself when the link is back. Each is a cell of the row `bus.gateways`.
"""

from __future__ import annotations

import time

from chaoslib.exceptions import ActivityFailed
from chaoslib.types import Configuration, Secrets

from chaos.faults.proving import fault_of, prove
from chaos.handover import Counted, Facts
from infra.fabric.process.system import System
from infra.parts import gateway
from infra.topology.model import Node
from reports.evidence import Count

__all__ = ["gateway_carries_nothing", "message_crosses"]

_ROW = "bus.gateways"


def message_crosses(
    experiment: str, one: str, other: str, within_s: int, when: str, configuration: Configuration = None,
    secrets: Secrets = None,
) -> bool:  # fmt: skip
    """Whether a message gets from either region's gateway to the other's client; `when` says at which moment."""
    system, _ = fault_of(experiment)
    for sender, receiver in _ways(system, one, other):
        took_s = gateway.crosses(system.place, sender, receiver, within_s)
        how = f"{experiment}: a message from {sender.name} to {receiver.name}, {when}"
        value = within_s if took_s is None else round(took_s, 3)
        count = Count(row=_ROW, value=value, unit="s", how=how, ok=took_s is not None)
        Facts(system.site.path).add(Counted(experiment=experiment, at_ns=time.monotonic_ns(), count=count))
        if took_s is None:
            raise ActivityFailed(f"{how}: expected it within {within_s} s, none arrived")
    return True


def gateway_carries_nothing(
    experiment: str, one: str, other: str, for_s: int, configuration: Configuration = None, secrets: Secrets = None
) -> bool:
    """Prove that for so long no message crosses in either direction."""
    system, _ = fault_of(experiment)
    arrived = [
        f"{sender.name} to {receiver.name}"
        for sender, receiver in _ways(system, one, other)
        if gateway.crosses(system.place, sender, receiver, for_s) is not None
    ]
    what = f"messages between the gateways of {one} and {other} in {for_s} s"
    return prove(system, experiment, what, "none", None if arrived else "none", f"some from {', '.join(arrived)}")


def _ways(system: System, one: str, other: str) -> list[tuple[Node, Node]]:
    nodes = {node.region: node for node in system.place.nodes(gateway.Gateway.kind)}
    if not {one, other} <= nodes.keys():
        raise ActivityFailed(f"expected a gateway in {one} and {other}, found {', '.join(nodes) or 'none'}: use full")
    return [(nodes[one], nodes[other]), (nodes[other], nodes[one])]
