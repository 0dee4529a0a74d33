"""What a user asks of a load: described once, checked once.

A `Request` holds what was asked, None where the scenario decides. `check` turns it into a `CheckedRequest`; everything
from there to the pacer takes that, so that no load starts from values that were not checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_type_hints

import msgspec
from msgspec import Meta

from infra.target import Target, inside_path
from loadtests.arrivals import grammar
from loadtests.arrivals.arrival_process import ArrivalProcess
from loadtests.arrivals.durations import EXPECTED
from loadtests.arrivals.grammar import CONSTANT, GRAMMAR
from loadtests.arrivals.schedule import check_duration
from loadtests.plan import MAX_USERS, Plan, Scenario
from loadtests.recording.early import Gate
from loadtests.scenarios import scenarios


class UsageError(ValueError):
    """A request that cannot be served; one line, fit to be shown to a user."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a load. The descriptions are what the command line says of its options."""

    scenario: Annotated[str, Meta(description="The scenario's name, as `load list` shows it.")]
    rate: Annotated[float | None, Meta(description="Operations offered per second, in the scenario's unit.")] = None
    duration_s: Annotated[float | None, Meta(description=f"How long is measured, after the warm-up: {EXPECTED}.")] = (
        None
    )
    warmup_s: Annotated[
        float | None, Meta(description="How long before that, not measured, likewise; default: the scenario's own.")
    ] = None
    arrival: Annotated[str | None, Meta(description=f"How they arrive: {GRAMMAR}.")] = None
    mode: Annotated[
        str | None,
        Meta(description="How bus-ingest publishes: singles, atomic or fast batches; default: by the rate."),
    ] = None
    users: Annotated[
        int | None, Meta(description="Generator processes that share the rate; default 1, or 1 a region.")
    ] = None
    seed: Annotated[int, Meta(description="Seed of everything random in the load.")] = 1
    abort_on_fail: Annotated[
        bool,
        Meta(
            description="End the load as soon as the gate of a latency (reads, writes, publishes) can no longer hold, "
            "whatever still follows; what was measured until then is kept and judged."
        ),
    ] = False
    web: Annotated[bool, Meta(description="Show Locust's own page while it runs.")] = False


def describe(field: str) -> str:
    """The description of a field of `Request`."""
    meta: Meta = get_type_hints(Request, include_extras=True)[field].__metadata__[0]
    return meta.description or ""


@dataclass(frozen=True, kw_only=True)
class CheckedRequest:
    """A request that its scenario can serve."""

    scenario: Scenario
    arrival: ArrivalProcess
    """With the rate and the duration."""
    warmup_s: float
    users: int | None
    """As asked; `users_on` decides where nothing was asked."""
    seed: int
    mode: str | None
    abort_on_fail: bool
    web: bool

    def users_on(self, target: Target) -> int:
        """How many generator processes a load on this system has. UsageError if they cannot be shared out evenly."""
        apart = len(target.regions) if self.scenario.per_region and target.enter else 1
        if self.users is not None and self.users % apart:
            raise UsageError(f"users: expected a multiple of {apart}, as many in every region; found {self.users}")
        return self.users or apart

    def plan(self, *, folder: Path, work: Path, target: Target, target_path: Path, gates: Sequence[Gate] = ()) -> Plan:
        """The load on this system: where its engines run, and what they are given. `folder` is the run folder, `work`
        one for what engines read and leave, `target_path` the target's file. UsageError."""
        seen_from = inside_path(target_path) if target.enter else target_path
        return Plan(
            scenario=self.scenario.name,
            folder=str(folder.resolve()),
            work=str(work),
            target=str(seen_from.resolve()),
            run_id=target.run_id,
            regions=target.regions,
            enter=target.enter,
            rate=self.arrival.mean_rate,
            arrival=self.arrival,
            duration_s=self.arrival.duration_s,
            warmup_s=self.warmup_s,
            users=self.users_on(target),
            seed=self.seed,
            mode=self.mode,
            gates=list(gates),
        )


def check(request: Request) -> CheckedRequest:
    """What a load can be made of. UsageError for what cannot be. Starts nothing; reads the file of a replay."""
    known = scenarios()
    if request.scenario not in known:
        raise UsageError(f"scenario: expected one of {', '.join(known)}; found {request.scenario!r}")
    scenario = known[request.scenario]
    text = request.arrival or CONSTANT
    try:
        arrival = grammar.parse(
            text, rate=request.rate, usual_rate=scenario.rate, duration_s=request.duration_s,
            usual_s=scenario.duration_s,
        )  # fmt: skip
        if request.warmup_s:
            check_duration(request.warmup_s, "warm-up")
    except ValueError as error:
        raise UsageError(str(error)) from None
    if request.users is not None and not 1 <= request.users <= MAX_USERS:
        raise UsageError(f"users: expected 1 to {MAX_USERS} (generator processes), found {request.users}")
    if text != CONSTANT and not scenario.follows_arrival:
        raise UsageError(f"arrival: {scenario.name} offers one even rate, expected {CONSTANT}; found {text!r}")
    if request.mode is not None and request.mode not in scenario.modes:
        modes = (
            f"one of {', '.join(scenario.modes)}" if scenario.modes else f"none, {scenario.name} has no choice of it"
        )
        raise UsageError(f"mode: expected {modes}; found {request.mode!r}")
    return CheckedRequest(
        scenario=scenario,
        arrival=arrival,
        warmup_s=scenario.warmup_s if request.warmup_s is None else request.warmup_s,
        users=request.users,
        seed=request.seed,
        mode=request.mode,
        abort_on_fail=request.abort_on_fail,
        web=request.web,
    )
