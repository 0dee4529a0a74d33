"""A run of any profile, from its system to its verdict, and the steps that it is made of.

Beside the command line the only place that knows all parts.
"""

from __future__ import annotations

import os
import secrets
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import click
from chaoslib.exceptions import ChaosException

import reports
from chaos import plants
from chaos.healing import HealError, heal
from chaos.journal import JournalError
from chaos.run import catalog, toolkit
from chaos.run import trial as chaos_runner
from commands.declarations import loads
from commands.exit_codes import EXIT_UNTRUSTED, EXIT_USAGE, fail
from commands.run import expected, history, programme
from commands.run.planted import run_planted
from commands.run.profiles import PROFILES
from commands.run.repeats import Phase, in_tries
from commands.run.session import Session, StepFailed
from commands.run.systems import create_system, is_up, running
from e2e import browser as browsers
from e2e import runner as e2e_runner
from infra import preflight
from infra.fabric.process.system import System
from infra.machine import fingerprint, processes, sampler
from infra.machine.checkout import CHECKOUT, RUNS
from infra.machine.progress import Report, say, step
from ledger.audit import audit, last_event_seq
from ledger.drain import drain
from ledger.observe.bus import BusError
from ledger.session_audit import judge_sessions
from loadtests import own_locustfile
from loadtests import run as load_runner
from loadtests.locust_process import LoadError
from loadtests.plan import Scenario
from loadtests.recording.early import Gate
from loadtests.request import CheckedRequest, Request, UsageError, check
from loadtests.search.calibration import CalibrationError, calibrate
from reports.evidence import Run, RunFolder
from reports.policy import own_slo
from reports.policy.claims import load_claims
from reports.policy.policy import load_policy
from reports.verdict.measures import MEASURES
from reports.verdict.measures.loads import latency

_DRAINED_WITHIN_S = 60.0


@contextmanager
def session(
    profile: str,
    *,
    seed: int = 1,
    out: Path | None = None,
    release: str | None = None,
    experiments: tuple[str, ...] = (),
    plant: str | None = None,
    slo: str | None = None,
    phases: Sequence[str] = (),
) -> Iterator[Session]:
    """A run of a profile on the running system, or on one of its own; `phases` are those that will begin, where that is
    known. Ends the process with its verdict, or before anything is started if it could not be judged."""
    if problems := loads.problems_of(profile):
        fail(EXIT_UNTRUSTED, problems[0])
    now = datetime.now(UTC)
    run_id = f"{now:%Y%m%d-%H%M%S}-{profile.replace('.', '-')}-{secrets.token_hex(2)}"
    try:
        folder = RunFolder.create(out or RUNS / run_id)
    except OSError as error:
        fail(EXIT_USAGE, f"the run folder cannot be written: {error}; name another with --out")
    if (folder.evidence / "run.json").exists():
        fail(EXIT_USAGE, f"{folder.path} holds a run already; name another with --out")
    own = profile in PROFILES or plant is not None or not is_up()
    system = create_system(run_id, plant=plant) if own else running()
    os.environ.update({processes.RUN_ID: system.site.run_id, processes.KIND: "harness"})
    facts = system.target()
    run = Run(
        run_id=run_id, profile=profile, command=shlex.join(["./covenant", *sys.argv[1:]]), seed=seed, release=release,
        started_at=now.isoformat(timespec="seconds"), started_ns=time.monotonic_ns(), planted=plant,
        size=system.site.size, bus=system.site.options.bus, distance="namespaces" if system.site.apart else "none",
        regions=facts.regions, experiments=list(experiments), durability=facts.durability, security=facts.security,
        fingerprint=fingerprint.fingerprint(CHECKOUT, system.versions(), system.place.topology.sha256),
    )  # fmt: skip
    steps = Session(
        run,
        folder,
        system,
        owned=own,
        monitor=sampler.command(folder, system.site.run_id, system.site.path),
        heal=_heal,
    )
    if slo is not None:
        folder.write_own_slo(slo)
    if plant is None and (before := history.repeated_before(RUNS, folder.path, say)) is not None:
        folder.write_repeated_before(before)
    folder.write_preflight(preflight.of_system(system, CHECKOUT, load_claims()))
    folder.write_expected(expected.of_run(folder, run, phases))
    with steps:
        yield steps
    with step("report") as progress:
        progress(0.1, "computing the verdict from the evidence")
        result = reports.assess(folder)
        reports.publish(folder, result)
    click.echo(reports.to_text(result))
    click.echo(f"report: {folder.path / 'report.html'}")
    sys.exit(reports.exit_code(result))


def _heal(system: System) -> None:
    """Undo what is still open; what cannot be undone is said, and ends with the system."""
    try:
        for undone in heal(system):
            say(f"healed: {undone}")
    except (HealError, JournalError) as error:
        say(f"healing: {error}")


# Its steps.


def load(run: Session, asked: CheckedRequest, *, calibrated: bool = True) -> None:
    """Make a load, if `calibrated` with the machine calibrated around it; its evidence is the run's."""
    name = asked.scenario.name

    def make(progress: Report) -> None:
        if calibrated:
            _calibrate(run, asked.scenario, "before", progress)
        make_load(run, asked, run.folder, progress)
        if calibrated:
            _calibrate(run, asked.scenario, "after", progress)

    records = [name, *(f"{name}-{beside}" for beside in asked.scenario.beside)]
    in_tries(run, Phase(title=name, name=name, kind="load", records=records), make)


def _calibrate(run: Session, scenario: Scenario, when: Literal["before", "after"], progress: Report) -> None:
    """Calibrate the machine's ceiling for the row that the run judges; a load goes on without one."""
    row, policy = scenario.calibrates, load_policy()
    if row is None or not policy.judges(run.run.profile, row):
        return
    progress(0.0 if when == "before" else 1.0, f"calibrating {row}")
    try:
        found = calibrate(
            scenario.name, row, when, target_path=run.system.target_path, steady_at=policy.calibration.margin
        )
        run.folder.write_calibration(found)
    except CalibrationError as error:
        run.note("skipped", f"calibration {when} {scenario.name}", str(error))


def make_load(run: Session, asked: CheckedRequest, folder: RunFolder, progress: Report) -> None:
    """Make a load whose evidence goes to `folder`. StepFailed if it could not be made."""
    folder.write_expected(expected.of_load(asked, folder, run.system.target(), run.system.target_path))
    gates = latency_gates(run.folder) if asked.abort_on_fail else []
    if asked.abort_on_fail and not gates:
        say(f"--abort-on-fail: {run.run.profile} judges no latency, so that nothing ends it early")
    try:
        with _audited(run, asked.scenario, folder):
            load_runner.run(asked, folder=folder, target_path=run.system.target_path, gates=gates, progress=progress)
    except (LoadError, BusError) as error:
        raise StepFailed(str(error)) from error


def latency_gates(folder: RunFolder) -> list[Gate]:
    """The gates of latencies that the run's profile judges and that are not waived, as its verdict will apply them."""
    claims = {claim.row: claim for claim in load_claims()}
    report, policy = reports.assess(folder), load_policy()
    found = []
    for row in report.slos:
        claim, gate = claims[row.id], row.gate
        judged = row.verdict != "NOT_JUDGED" and row.id not in report.waived and MEASURES[claim.family] is latency
        if judged and gate is not None and gate.op in ("<", "<=") and gate.unit == "ms":
            minimum = policy.minimum_samples(claim.family)
            found.append(Gate(row=claim.family, region=claim.region, limit_ms=gate.value, minimum=minimum))
    return found


@contextmanager
def _audited(run: Session, scenario: Scenario, folder: RunFolder) -> Iterator[None]:
    """Afterwards, look at every hop for the writes of a scenario that keeps a ledger of them."""
    if not scenario.audited:
        yield
        return
    target = run.system.target()
    behind_seq = last_event_seq(target)
    yield
    late = drain(target, _DRAINED_WITHIN_S)
    for problem in audit(folder, scenario.name, target, behind_seq=behind_seq, late=late):
        say(f"audit: {problem}")
    if unread := judge_sessions(folder, scenario.name):
        say(f"sessions: {unread}")


def chaos(run: Session, experiment: str, repeat: int = 1) -> None:
    """Run an experiment; `repeat` counts from 1 which repeat this is."""
    known = catalog.id_of(experiment)
    name, phase = run.folder.experiment_dir(known, repeat).name, programme.in_round(known, repeat)

    def make(progress: Report) -> None:
        try:
            chaos_runner.run(
                experiment, folder=run.folder, system=run.system, progress=progress, repeat=repeat, phase=phase
            )
        except chaos_runner.ExperimentError as error:
            raise StepFailed(str(error)) from error

    in_tries(run, Phase(title=phase, name=name, kind="experiment", records=[name]), make)


def plant(run: Session, bug: str) -> None:
    """Run a planted bug on a system of its own; ours has to be stopped before (`Session.end_system`)."""
    with run.phase(programme.planted(bug)) as progress:
        run.folder.write_expected(expected.of_planted(programme.planted(bug), bug))
        run_planted(plants.PLANTS[bug], run.folder, progress)


def find_browsers(install: bool, engines: Sequence[str] = ("chromium",)) -> list[browsers.Browser] | str:
    """A browser of each engine, installed where there is none, or why there is none."""
    try:
        return [browsers.find(engine, install=install) for engine in dict.fromkeys(engines)]
    except browsers.NoBrowser as error:
        return str(error)


def browse(
    run: Session, found: Sequence[browsers.Browser] | str, arguments: Sequence[str], *, suites: Sequence[str] = (),
    within_s: float | None = None,
) -> None:  # fmt: skip
    """Run the browser suites, by default all and within their own deadline; a browser that is missing is said in one
    line."""
    if isinstance(found, str):
        run.skip(programme.BROWSER, found)
        return
    limit_s = e2e_runner.WITHIN_S if within_s is None else within_s

    def make(progress: Report) -> None:
        progress(0.0, "collecting the suites")
        run.folder.write_expected(expected.of_browser(e2e_runner.collect(found, arguments, chosen=suites)))
        progress(0.1, "running the suites")
        e2e_runner.run(found, run.folder, run.system.target_path, arguments, chosen=suites, within_s=limit_s)

    in_tries(run, Phase(title=programme.BROWSER, name=programme.BROWSER, kind="browser"), make)


# Whole runs, for the commands that are one.


def read_slo(file: Path | None) -> str | None:
    """A file of objectives that can be read; None without one. Ends the process as wrong usage, with the line."""
    if file is None:
        return None
    try:
        text = file.read_text("utf-8")
        own_slo.parse(file.name, text, load_claims())
    except (OSError, ValueError) as error:
        fail(EXIT_USAGE, f"--slo: {error}")
    return text


def run_load(request: Request, *, plant: str | None, out: Path | None, slo: str | None = None) -> None:
    """Run a scenario and report; ends the process with the verdict, or as wrong usage."""
    try:
        asked = check(request)
    except UsageError as error:
        fail(EXIT_USAGE, str(error))
    name = request.scenario
    with session(f"load.{name}", seed=request.seed, out=out, plant=plant, slo=slo, phases=[name]) as run:
        run.start()
        load(run, asked)


def run_locustfile(
    file: Path, *, users: int | None, duration_s: float | None, plant: str | None, out: Path | None, slo: str | None
) -> None:
    """Run a locustfile of the user's own and report; ends the process with the verdict, or as wrong usage."""
    try:
        asked = own_locustfile.check(file, users=users, duration_s=duration_s)
    except UsageError as error:
        fail(EXIT_USAGE, str(error))
    name = own_locustfile.NAME
    with session(f"load.{name}", out=out, plant=plant, slo=slo, phases=[name]) as run:
        run.start()

        def make(progress: Report) -> None:
            run.folder.write_expected(expected.of_locustfile(name))
            try:
                own_locustfile.run(asked, folder=run.folder, target_path=run.system.target_path, progress=progress)
            except LoadError as error:
                raise StepFailed(str(error)) from error

        in_tries(run, Phase(title=name, name=name, kind="load", records=[name]), make)


def check_experiments(names: Sequence[str]) -> tuple[str, ...]:
    """The ids of these experiments, which are ours or files. Ends the process as wrong usage if one of them is not
    known, cannot be read, or names a module or a program that is not there."""
    try:
        found = catalog.check_names(names)
        for name in names:
            toolkit.validate(name)
    except (catalog.UnknownExperiment, catalog.BadExperiment) as error:
        fail(EXIT_USAGE, str(error))
    except ChaosException as error:
        fail(EXIT_USAGE, f"{name}: Chaos Toolkit refuses it: {' '.join(str(error).split())}")
    return tuple(found)


def run_chaos(experiments: tuple[str, ...], *, repeat: int, out: Path | None, plant: str | None) -> None:
    """Run experiments, one after the other and `repeat` times, and report; ends the process with the verdict."""
    ids = check_experiments(experiments)
    phases = [programme.in_round(name, number) for number in range(1, repeat + 1) for name in ids]
    with session("chaos", out=out, experiments=ids, plant=plant, phases=phases) as run:
        run.start()
        for number in range(1, repeat + 1):
            for experiment in experiments:
                chaos(run, experiment, number)
