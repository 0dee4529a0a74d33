"""What actions and probes hand over to each other, and to the process that runs the experiment.

Chaos Toolkit runs them in a process of its own and lets none see another's result. So each appends what it
knows to a file of JSON lines in the system's home, which every process finds by itself. The injector says what
it hit and how things stood before; the probes, which look with their own eyes, add what they saw.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from reports.evidence import Count, Proof
from reports.evidence.folder import Appender, read_lines

_FILE_NAME = "chaos-facts.jsonl"


class NoFault(Exception):
    """A probe was asked about a fault that was never injected; says which."""


class _Fact(msgspec.Struct, frozen=True, kw_only=True):
    experiment: str
    at_ns: int
    """CLOCK_MONOTONIC."""


class Fault(_Fact, frozen=True, kw_only=True, tag="fault"):
    """A fault that was injected; `at_ns` is just before the signal was sent."""

    part: str
    target: str
    """What it hit, in words: `nats-iad-b, leader of COVENANT_PROJECTS`."""
    before: dict[str, int] = {}
    """How things stood just before, for the probes to compare with."""
    lost_region: str | None = None
    """The region that is lost as a whole: nothing of it can recover before it is brought back."""


class Proved(_Fact, frozen=True, kw_only=True, tag="proof"):
    """What a probe saw of the fault, or did not see."""

    proof: Proof


class Counted(_Fact, frozen=True, kw_only=True, tag="counted"):
    """What a probe counted while the fault lasted, for the row that it is about."""

    count: Count


class Undone(_Fact, frozen=True, kw_only=True, tag="undone"):
    """A fault was reverted: the part was started again."""

    what: str


class HandedBack(_Fact, frozen=True, kw_only=True, tag="handed-back"):
    """The region that was lost is about to be made the active one again, as planned."""


class Redundant(_Fact, frozen=True, kw_only=True, tag="redundant"):
    """Everything that the fault took was there again."""


Fact = Fault | Proved | Counted | Undone | Redundant | HandedBack


class Facts:
    """The facts of the experiments on one system, by its home folder."""

    def __init__(self, home: Path) -> None:
        self.path = home / _FILE_NAME

    def add(self, fact: Fact) -> None:
        with Appender[Fact](self.path) as file:
            file.add(fact)

    def of(self, experiment: str, since_ns: int = 0) -> list[Fact]:
        """The experiment's facts from an instant on, in the order in which they were written."""
        # A union is no class to the type checker; msgspec decodes it all the same.
        facts: list[Fact] = list(read_lines(self.path, Fact))  # type: ignore[arg-type]
        return [fact for fact in facts if fact.experiment == experiment and fact.at_ns >= since_ns]

    def fault(self, experiment: str) -> Fault:
        """The experiment's latest fault. NoFault if there is none since the machine was started."""
        now = time.monotonic_ns()
        faults = [fact for fact in self.of(experiment) if isinstance(fact, Fault) and fact.at_ns <= now]
        if not faults:
            raise NoFault(f"{experiment}: expected a fault in {self.path}, found none: run its action first")
        return faults[-1]

    def proven(self, experiment: str) -> bool:
        """Whether the latest fault has proofs, and every one of them holds."""
        try:
            since_ns = self.fault(experiment).at_ns
        except NoFault:
            return False
        proofs = [fact.proof.proven for fact in self.of(experiment, since_ns) if isinstance(fact, Proved)]
        return bool(proofs) and all(proofs)
