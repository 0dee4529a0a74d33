"""What the activities of an experiment have in common: the system, the undo journal, and the facts that they share.

Chaos Toolkit calls each activity on its own and passes `configuration`, whose `experiment` names the one that it
belongs to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from chaoslib.exceptions import ActivityFailed
from chaoslib.types import Configuration

from chaos import running
from chaos.faults.registry import Undo
from chaos.handover import Counted, Fact, Facts, Fault, Proved
from chaos.journal import Journal
from infra.fabric.protocol import Capability, Fabric
from reports.evidence import Count, Proof
from reports.evidence.fact_rows import NoFactRow, check_row


class Activity:
    """One call of an action or a probe."""

    def __init__(self, configuration: Configuration) -> None:
        self.experiment = str(configuration["experiment"])
        self.system: Fabric = running.system()
        self._facts = Facts(self.system.site.path)

    def needs(self, capability: Capability) -> None:
        """ActivityFailed, before anything is injected, if the system's fabric cannot do that."""
        if capability not in self.system.capabilities:
            raise ActivityFailed(f"expected a fabric that {capability}, found {self.system.name} without that: see up")

    # For injectors.

    def prepare(self, undo: Undo, **arguments: str) -> None:
        """Write how to revert what is about to be injected; on disk when this returns. JournalError."""
        Journal(self.system.site.path).begin(self.experiment, undo.name, arguments)

    def hit(
        self, inject: Callable[[str], object], undo: Undo, part: str, target: str, before: Mapping[str, int]
    ) -> dict[str, Any]:
        """Inject a fault into the processes of one part, its undo noted first. `inject` answers false if it found none:
        ActivityFailed."""
        self.prepare(undo, part=part)
        at_ns = time.monotonic_ns()
        if not inject(part):
            raise ActivityFailed(f"expected {part} to run, found no process of it")
        return self.injected(at_ns, part, target, before)

    def injected(
        self, at_ns: int, part: str, target: str, before: Mapping[str, int], lost_region: str | None = None
    ) -> dict[str, Any]:
        """Note a fault: what it hit, and how things stood before, for the probes. What the action answers."""
        fault = Fault(
            experiment=self.experiment,
            at_ns=at_ns,
            part=part,
            target=target,
            before=dict(before),
            lost_region=lost_region,
        )
        self._facts.add(fault)
        return {"part": part, "target": target, "at_ns": at_ns, **before}

    # For probes.

    def fault(self) -> Fault:
        """The fault that the experiment has injected. NoFault."""
        return self._facts.fault(self.experiment)

    def add(self, fact: Fact) -> None:
        self._facts.add(fact)

    def count(self, row: str, value: float, unit: str, how: str, *, ok: bool) -> None:
        """Note what was counted while the fault lasted, for the row that it is about: if it does not hold, that row
        fails, and the experiment goes on. ActivityFailed for a row that takes no facts."""
        try:
            check_row(row)
        except NoFactRow as error:
            raise ActivityFailed(str(error)) from None
        count = Count(row=row, value=value, unit=unit, how=f"{self.experiment}: {how}", ok=ok)
        self._facts.add(Counted(experiment=self.experiment, at_ns=time.monotonic_ns(), count=count))

    def prove(self, what: str, expected: str, found: str | None, otherwise: str = "nothing of the kind") -> bool:
        """Note a proof: `found` is what was seen of the fault, None if it was not. ActivityFailed if it does not
        hold."""
        at_ns = time.monotonic_ns()
        proof = Proof(at_ns=at_ns, what=what, expected=expected, found=found or otherwise, proven=found is not None)
        self._facts.add(Proved(experiment=self.experiment, at_ns=at_ns, proof=proof))
        if found is None:
            raise ActivityFailed(f"{what}: expected {expected}, found {otherwise}")
        return True
