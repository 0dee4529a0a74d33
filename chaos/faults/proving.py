"""How a probe takes up the fault that it is about, and writes down what it saw of it."""

from __future__ import annotations

import time

from chaoslib.exceptions import ActivityFailed

from chaos import running
from chaos.handover import Facts, Fault, Proved
from infra.fabric.process.system import System
from reports.evidence import Proof


def fault_of(experiment: str) -> tuple[System, Fault]:
    system = running.system()
    return system, Facts(system.site.path).fault(experiment)


def prove(
    system: System, experiment: str, what: str, expected: str, found: str | None, otherwise: str = "nothing of the kind"
) -> bool:
    """Write the proof down; ActivityFailed if it does not hold."""
    at_ns = time.monotonic_ns()
    proof = Proof(at_ns=at_ns, what=what, expected=expected, found=found or otherwise, proven=found is not None)
    Facts(system.site.path).add(Proved(experiment=experiment, at_ns=at_ns, proof=proof))
    if found is None:
        raise ActivityFailed(f"{what}: expected {expected}, found {otherwise}")
    return True
