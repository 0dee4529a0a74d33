"""Running one experiment from its baseline to its audit, and leaving the evidence of it.

Probes run all the time, from before the fault until the system is calm again. Chaos Toolkit runs the
experiment; whatever becomes of it, the undo journal is reverted, full redundancy is waited for, and every
write of the probes is looked for at every hop. Nothing here decides whether that was good enough.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import msgspec

from chaos.handover import Counted, Fact, Facts, Fault, HandedBack, Proved, Redundant, Undone
from chaos.healing import HealError, heal, open_faults
from chaos.journal import JournalError
from chaos.run import toolkit
from chaos.run.calm import disturbance
from chaos.run.catalog import (
    HYPOTHESIS,
    BadExperiment,
    Info,
    UnknownExperiment,
    declares_proof,
    experiments,
    id_of,
    loses_region,
    plan,
    read,
    rows_of,
)
from infra.fabric.protocol import Fabric
from infra.machine import processes
from infra.machine.progress import Report
from infra.machine.waiting import until
from ledger.audit import audit, last_event_seq
from ledger.drain import drain
from ledger.observe import bus
from loadtests.engine.prober import BUS, ProberSpec
from loadtests.expected import AUDIT_FACTS, audited_hops
from reports.evidence import Count, Expected, ExpectedFile, ExpectedTrial, Experiment, RunFolder, TimelineEvent
from reports.evidence.expected import writes_path
from reports.evidence.fact_rows import NoFactRow

__all__ = ["SLO_US", "BadExperiment", "ExperimentError", "Info", "UnknownExperiment", "experiments", "plan", "run"]

SLO_US = {
    # The claim's bound of a read. It needs nothing but the region's own replica or cache.
    "read": 100_000,
    # A write may wait for an election or a synchronous standby; a client waits a second before it shows an error.
    "write": 1_000_000,
    # As a write: the relay holds the event meanwhile.
    "publish": 1_000_000,
    # How old the oldest event may be that analytics has not applied: fresh enough for totals on a page.
    "effect": 2_000_000,
}
"""Operation -> the latency in us within which a probe of it counts as served, while faults are judged."""

_ROWS = ("recovery.rto", "recovery.rpo_loss", "recovery.redundancy", "bus.exactly_once", "ledger.contents")
"""What every experiment is evidence for; its file names what it is evidence for besides."""
_RATE_HZ = 20.0
_PLACES_AT_FULL_RATE = 8
"""Three regions. Of six, each is probed a quarter as often, and the experiment says so: an event of theirs has twice
the effects, and at 20 Hz two cores were so busy that leases ran out without any fault."""
_CALM_S = 4.0
"""Of calm probes before the fault, and after redundancy: a recovery counts as stable after 3 s of them."""
_CALM_WITHIN_S = 30.0
"""Six regions on two cores need longer than three; a system that is calm at once is not waited for."""
_SETTLE_S = 0.3
"""Probes of the last moment may still be under way."""
_CHAOS_WITHIN_S = 300.0
"""A region that is lost, taken over, brought back and handed back takes minutes."""
_REDUNDANT_WITHIN_S = 90.0
_DRAINED_WITHIN_S = 30.0
_PROBER_ENDS_WITHIN_S = 8.0
_PROBED_AT_MOST_S = 500.0
"""Longer than all of the above together."""


class ExperimentError(Exception):
    """The experiment could not be run, or its evidence not be taken; says what to do."""


def run(
    experiment: str, *, folder: RunFolder, system: Fabric, progress: Report, repeat: int = 1, dry: bool = False,
    phase: str | None = None,
) -> None:  # fmt: skip
    """Run an experiment, by its id or its file, on a running system; `repeat` counts from 1 which repeat this is.
    `phase` is what its run calls it; None: as its folder.

    Leaves experiment.json, probes, the ledger, the hops and Chaos Toolkit's journal in the run folder, also when
    it fails or is interrupted. With `dry` it checks the experiment and prints its plan, and does nothing else.

    Raises UnknownExperiment, BadExperiment, ExperimentError.
    """
    toolkit.validate(experiment)
    if dry:
        print(plan(experiment))
        return
    trial = _Trial(experiment, folder, system, progress, repeat)
    try:
        trial.declare(phase)
        trial.go()
    except (bus.BusError, JournalError) as error:
        raise ExperimentError(f"{experiment}: {error}") from error
    finally:
        trial.conclude()
    progress(1.0, "done")


class _Trial:
    """One repeat of one experiment."""

    def __init__(self, experiment: str, folder: RunFolder, system: Fabric, progress: Report, repeat: int) -> None:
        content = read(experiment)
        self._source = experiment
        self._experiment = id_of(experiment)
        self._folder = folder
        self._system = system
        self._target = system.target()
        self._progress = progress
        self._repeat = repeat
        self._place = folder.experiment_dir(self._experiment, repeat)
        self._place.mkdir(parents=True, exist_ok=True)
        self._facts = Facts(system.site.path)
        self._places = [(region, operation) for region in self._target.regions for operation in ("read", "write")]
        self._places += [(BUS, "publish"), (BUS, "effect")]
        now_ns = time.monotonic_ns()
        self._record = Experiment(
            id=self._experiment,
            title=str(content["title"]),
            proof_declared=declares_proof(content),
            target="",
            begin_ns=now_ns,
            end_ns=now_ns,
            slo=SLO_US,
            probe_hz=_RATE_HZ if len(self._places) <= _PLACES_AT_FULL_RATE else _RATE_HZ / 4,
        )

    def declare(self, phase: str | None) -> None:
        """Write down what it will leave, before anything is probed."""
        name, regions = self._place.name, self._target.regions
        place = f"chaos/{name}"
        files = [f"{place}/experiment.json", f"{place}/probes.jsonl", writes_path(name)]
        content = read(self._source)
        self._folder.write_expected(
            Expected(
                phase=phase or name,
                kind="experiment",
                rows=[*_ROWS, *rows_of(content)],
                files=[ExpectedFile(path=path) for path in files],
                hops=audited_hops(name, regions),
                facts=dict(AUDIT_FACTS),
                trial=ExpectedTrial(
                    name=name, experiment=self._experiment, places=self._places, probe_hz=self._record.probe_hz,
                    slo=SLO_US, loses_region=loses_region(content), steady=bool(content.get(HYPOTHESIS)),
                ),
            )
        )  # fmt: skip

    def go(self) -> None:
        home = self._system.site.path
        if faults := open_faults(home):
            carried = ", ".join(fault.undo.in_words() for fault in faults)
            raise ExperimentError(f"the system carries faults already ({carried}): run ./covenant chaos heal first")
        behind_seq = last_event_seq(self._target)
        with _Prober(self._spec(), self._place, home) as prober:
            self._progress(0.02, "probing, waiting for a calm baseline")
            self._wait_calm(prober, time.monotonic_ns(), "before the fault")
            try:
                self._break(prober)
            finally:
                self._heal()
            self._wait_redundant()
            self._progress(0.8, "whole again; probing on until it is calm")
            whole_ns = self._record.redundancy_ns or time.monotonic_ns()
            # The clocks stop at a stretch without any slow probe, so probing goes on until there is one.
            self._wait_calm(prober, whole_ns, "after healing", slow_allowed=False)
        self._progress(0.88, "waiting until everything written has run through")
        lost = self._lost_region()
        late = drain(self._target, _DRAINED_WITHIN_S, lost)
        if late is not None:
            self._record.problems.append(f"waited {_DRAINED_WITHIN_S:.0f} s in vain for {late}")
        self._progress(0.94, "looking for every write at every hop")
        self._record.problems += audit(
            self._folder, self._place.name, self._target, behind_seq=behind_seq, late=late, lost_region=lost
        )

    def _lost_region(self) -> str | None:
        faults = [fact for fact in self._facts.of(self._experiment, self._record.begin_ns) if isinstance(fact, Fault)]
        return faults[-1].lost_region if faults else None

    def conclude(self) -> None:
        """Write down what is known, however far it came."""
        facts = self._facts.of(self._experiment, self._record.begin_ns)
        with self._folder.timeline() as timeline:
            timeline.add(*(event for fact in facts if (event := _timeline_event(fact)) is not None))
        for fact in facts:
            match fact:
                case Fault():
                    self._record.target, self._record.fault_ns = fact.target, fact.at_ns
                    self._record.lost_region = fact.lost_region
                case HandedBack():
                    self._record.handed_back_ns = fact.at_ns
                case Proved():
                    self._record.proofs.append(fact.proof)
                case Counted():
                    self._count(fact.count)
                case Undone():
                    self._record.undo_ns = fact.at_ns
        self._record.end_ns = time.monotonic_ns()
        self._folder.write_experiment(self._record, self._repeat)

    def _count(self, count: Count) -> None:
        """Keep what a probe counted. For a row that takes no facts it would be counted for nothing: then the step is
        one that failed."""
        try:
            with self._folder.facts() as file:
                file.add(count)
        except NoFactRow as error:
            self._record.failed_steps = [*self._record.failed_steps, f"{count.how}: {error}"]

    def _spec(self) -> ProberSpec:
        return ProberSpec(
            folder=str(self._folder.path),
            experiment=self._place.name,
            target=str(self._system.target_path),
            operations=["read", "write", "publish", "effect"],
            rate_hz=self._record.probe_hz,
            at_most_s=_PROBED_AT_MOST_S,
            parent=os.getpid(),
        )

    def _break(self, prober: _Prober) -> None:
        """Let Chaos Toolkit do its experiment, and take over what its journal says."""
        chaos = toolkit.Toolkit(self._source, self._place, self._system.site.path)
        deadline = time.monotonic() + _CHAOS_WITHIN_S
        try:
            while not chaos.ended():
                prober.check()
                self._tell()
                if time.monotonic() > deadline:
                    self._record.problems.append(
                        f"chaos run did not end within {_CHAOS_WITHIN_S:.0f} s and was stopped"
                    )
                    break
                time.sleep(0.2)
        finally:
            chaos.end()
            verdict = chaos.verdict()
            self._record.chaos_status = verdict.status
            self._record.steady_before, self._record.steady_after = verdict.steady_before, verdict.steady_after
            self._record.problems += verdict.problems
            self._record.failed_steps = verdict.failed_steps

    def _tell(self) -> None:
        """Progress by what has happened so far."""
        facts = self._facts.of(self._experiment, self._record.begin_ns)
        if not facts:
            self._progress(0.15, "checking the steady state")
            return
        match facts[-1]:
            case Fault(target=target):
                self._progress(0.25, f"hit {target}; looking for proof")
            case Proved(proof=proof):
                self._progress(0.45, f"{proof.what}: {proof.found}")
            case Counted(count=count):
                self._progress(0.5, f"{count.how}: {count.value:g} {count.unit}")
            case Undone():
                self._progress(0.6, "undone; waiting for full redundancy")
            case HandedBack():
                self._progress(0.7, "making the region that was lost the active one again")
            case Redundant():
                self._progress(0.75, "whole again; checking the steady state")

    def _heal(self) -> None:
        """Revert what Chaos Toolkit did not."""
        try:
            undone = heal(self._system)
        except HealError as error:
            self._record.healed = False
            self._record.problems.append(f"healing failed: {error}")
            return
        for what in undone:
            self._facts.add(Undone(experiment=self._experiment, at_ns=time.monotonic_ns(), what=what))

    def _wait_redundant(self) -> None:
        noted = [
            fact.at_ns
            for fact in self._facts.of(self._experiment, self._record.begin_ns)
            if isinstance(fact, Redundant)
        ]
        whole = until(lambda: not self._system.missing() or None, _REDUNDANT_WITHIN_S)
        self._record.healed = self._record.healed is not False
        # What was undone and does not become whole again is the system's own failure; what was not undone is ours.
        self._record.whole = whole is not None if self._record.healed else None
        if whole is None:
            missing = "; ".join(self._system.missing())
            self._record.problems.append(f"not whole {_REDUNDANT_WITHIN_S:.0f} s after healing, it lacks: {missing}")
            return
        self._record.redundancy_ns = noted[-1] if noted else time.monotonic_ns()
        with self._folder.timeline() as timeline:
            timeline.add(TimelineEvent(at_ns=self._record.redundancy_ns, kind="healed", name=self._experiment))

    def _wait_calm(self, prober: _Prober, since_ns: int, when: str, *, slow_allowed: bool = True) -> None:
        """Wait for some seconds, all after `since_ns`, that were calm; without any slow probe if not `slow_allowed`.
        Note a problem if the SLO did not hold even at the end of the wait."""

        def wrong(*, slow_allowed: bool) -> str | None:
            end_ns = time.monotonic_ns() - int(_SETTLE_S * 1e9)
            begin_ns = end_ns - int(_CALM_S * 1e9)
            if begin_ns < since_ns:
                return "too short a time"
            return disturbance(
                self._folder.probe_history(self._place.name), self._places, SLO_US,
                begin_ns=begin_ns, end_ns=end_ns, rate_hz=self._record.probe_hz, slow_allowed=slow_allowed,
            )  # fmt: skip

        def look() -> bool | None:
            prober.check()
            return None if wrong(slow_allowed=slow_allowed) else True

        if until(look, _CALM_WITHIN_S) is None and (found := wrong(slow_allowed=True)) is not None:
            self._record.problems.append(f"no {_CALM_S:.0f} s of calm within {_CALM_WITHIN_S:.0f} s {when}: {found}")


def _timeline_event(fact: Fact) -> TimelineEvent | None:
    match fact:
        case Fault():
            return TimelineEvent(at_ns=fact.at_ns, kind="fault", name=fact.experiment, detail=fact.target)
        case Proved(proof=proof):
            return TimelineEvent(at_ns=proof.at_ns, kind="proof", name=fact.experiment, detail=proof.in_words)
        case Undone():
            return TimelineEvent(at_ns=fact.at_ns, kind="undo", name=fact.experiment, detail=fact.what)
        case Counted(count=count):
            detail = f"{count.how}: {count.value:g} {count.unit}"
            return TimelineEvent(at_ns=fact.at_ns, kind="note", name=fact.experiment, detail=detail)
        case HandedBack():
            return TimelineEvent(at_ns=fact.at_ns, kind="note", name=fact.experiment, detail="handing back, as planned")
        case Redundant():
            return None


class _Prober:
    """The prober's process, for as long as the block runs."""

    def __init__(self, spec: ProberSpec, place: Path, home: Path) -> None:
        self._home = home
        self._spec_path = place / "prober.json"
        self._spec_path.write_bytes(msgspec.json.encode(spec))
        self._log_path = place / "prober.log"

    def __enter__(self) -> _Prober:
        self._log: IO[bytes] = self._log_path.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loadtests.engine.prober", str(self._spec_path)],
            env={**os.environ, processes.HOME: str(self._home)},  # Should it outlive us, it is ended with the system.
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, start_new_session=True,
        )  # fmt: skip
        return self

    def check(self) -> None:
        """ExperimentError if it has ended: what is not probed cannot be judged."""
        if self._process.poll() is not None:
            tail = self._log_path.read_text(errors="replace").strip().splitlines()[-3:]
            raise ExperimentError(f"the prober ended with exit code {self._process.returncode}: {' / '.join(tail)}")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(_PROBER_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_PROBER_ENDS_WITHIN_S)
        self._log.close()
