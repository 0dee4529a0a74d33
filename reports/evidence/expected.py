"""What a phase of a run is to leave, written down before it begins (`evidence/expected/<phase>.json`).

By the session, or by what runs an experiment, and never by the process that measures: so that evidence that is not
there is missed, and silence is not taken for success. Nothing is judged here.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from reports.evidence.records import Run

SESSION = "session"
"""The phase that stands for the run as a whole."""

ExpectedKind = Literal["session", "load", "experiment", "browser", "check", "planted"]


class ExpectedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that will be there, and closed."""

    path: str
    """Relative to `evidence/`."""
    lines: int = 0
    """Of a list, at least so many."""
    writers: int = 1
    """At least so often it is closed: how many processes write it."""


class ExpectedHop(msgspec.Struct, frozen=True, array_like=True):
    """A place at which the writes of a ledger will be looked for."""

    client: str
    hop: str
    region: str | None = None
    effect: bool = False

    @property
    def path(self) -> str:
        return hop_path(self.client, self.hop, self.region)


class ExpectedLoad(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a load."""

    name: str
    engines: list[str] = []
    """The processes whose results will be in it; empty if they have no names."""
    operations: int = 0
    """So many at least its schedule asks for in the measured window, if it is not ended early; 0: not known."""
    requests: bool = False
    closed_loop: bool = False


class ExpectedTrial(msgspec.Struct, frozen=True, kw_only=True):
    """The record of one repeat of an experiment, and its probes."""

    name: str
    """Of its folder and of its ledger."""
    experiment: str
    places: list[tuple[str, str]]
    """(region, operation) of what is probed."""
    probe_hz: Annotated[float, msgspec.Meta(gt=0)]
    slo: dict[str, int]
    steady: bool = True
    """Whether it looks if the steady state holds before and after."""
    loses_region: bool = False
    """Whether a region is lost as a whole, whose probes and effects then say nothing."""


class ExpectedRun(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run before it begins."""

    record: Run
    """As it will be, but for how and when it ends."""
    phases: list[str] = []
    """Those that will begin, by name, unless they are skipped; empty if they are not known."""
    sampled: bool = True
    """Whether the machine is sampled all the time."""


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What one phase is to leave."""

    phase: str
    """Its name, as in the timeline."""
    kind: ExpectedKind
    rows: list[str] = []
    """Patterns of the rows that it is evidence for."""
    files: list[ExpectedFile] = []
    hops: list[ExpectedHop] = []
    facts: dict[str, int] = {}
    """Row -> how many facts at least this phase adds for it."""
    loads: list[ExpectedLoad] = []
    trial: ExpectedTrial | None = None
    tests: list[str] | None = None
    """The browser tests that were collected; None if that is not known."""
    run: ExpectedRun | None = None

    @property
    def path(self) -> str:
        """Of its own file, relative to `evidence/`."""
        return _path(self.phase)


def _path(phase: str) -> str:
    return f"expected/{re.sub(r'[^a-z0-9.]+', '-', phase.lower()).strip('-')}.json"


def session_path() -> str:
    """The file of what the session says of the run, relative to `evidence/`."""
    return _path(SESSION)


def failures_path(load: str) -> str:
    """The list of what did not succeed of a load, relative to `evidence/`."""
    return f"load/{load}.failures.jsonl"


def writes_path(client: str) -> str:
    """The ledger of a client's writes, relative to `evidence/`."""
    return f"ledger/{client}.jsonl"


def sessions_path(load: str) -> str:
    """The history of what a load's clients wrote and read."""
    return f"sessions/{load}.jsonl"


def spans_path(client: str) -> str:
    """The ledger of a client's numbered writes, relative to `evidence/`."""
    return f"ledger/{client}.spans.jsonl"


def hop_path(client: str, hop: str, region: str | None) -> str:
    """The file of a hop, relative to `evidence/`."""
    return f"hops/{client}.{hop}{f'.{region}' if region else ''}.json"
