"""What a write says, by which name the ledger knows it, and what the hops that it passes say of it. Pure.

A write is named after the state that it leads to (`reports.evidence.write_names`); the client that creates an item does
not know its incarnation yet, so the name counts its lives. What it says is a digest of the item's canonical form, keyed
with a secret of the run, or `DELETED`. So evidence holds no contents, and two digests are compared instead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple

from infra.target import Target
from reports.evidence import Write
from reports.evidence.write_names import DELETED, WriteName, read_name
from system.wire import Event, NewProject, Project, ProjectEvent

_DIGEST_BYTES = 12
_CENTS = Decimal("0.01")


def key_of(target: Target) -> bytes:
    """The key of a run's digests, the same for all who write and all who look. It is derived from one of the run's
    secrets, so that a digest gives nothing away."""
    secret = target.clients["reader"].password
    return blake2b(b"ledger contents", key=secret.encode()[:64], digest_size=32).digest()


def says(item: Project | NewProject, key: bytes) -> str:
    """The digest of an item's contents: all that a client may set, not its version."""
    amount = item.funding_usd_millions.quantize(_CENTS)
    fields = (item.id, item.name, item.region, item.country_code, item.sector, item.status, str(amount))
    return blake2b("\x1f".join(map(str, fields)).encode(), key=key, digest_size=_DIGEST_BYTES).hexdigest()


class Lives:
    """Which life of its project an incarnation is, by the order of the creations in the outbox."""

    def __init__(self, created: Iterable[tuple[str, int]]) -> None:
        """`created`: (project, incarnation) of each creation, in order."""
        self._lives: dict[tuple[str, int], int] = {}
        self.count: dict[str, int] = {}
        """Project -> how often it was created."""
        for project, incarnation in created:
            if (project, incarnation) not in self._lives:
                self.count[project] = self.count.get(project, 0) + 1
                self._lives[project, incarnation] = self.count[project]

    def write_id(self, project: str, incarnation: int, version: int) -> str:
        """The name of the write that led to this state. A state of an incarnation that was never created has a name
        that no ledger holds."""
        life = self.life(project, incarnation)
        return f"{project}@{incarnation}:{version}" if life is None else str(WriteName(project, version, life))

    def life(self, project: str, incarnation: int) -> int | None:
        """None for an incarnation that was never created. A project of which no creation is known leads its first."""
        return self._lives.get((project, incarnation)) if project in self.count else 1


class Step(NamedTuple):
    """The state that an event leads to, and what it says."""

    project: str
    incarnation: int
    version: int
    says: str
    created: bool = False


def step_of(before: Project | None, after: Project | None, key: bytes) -> Step:
    """The step of an event. ValueError for one that is about no project."""
    if after is not None:
        return Step(after.id, after.incarnation, after.version, says(after, key), created=before is None)
    if before is None:
        raise ValueError("expected an event with a project before or after it, found neither")
    return Step(before.id, before.incarnation, before.version + 1, DELETED)


def steps_of(events: Iterable[Event], projects: Collection[str], key: bytes) -> list[Step]:
    """The steps of those events that are about one of `projects`."""
    return [
        step_of(event.before, event.after, key)
        for event in events
        if isinstance(event, ProjectEvent) and event.aggregate_id in projects
    ]


class There(NamedTuple):
    """What is at a hop: write id -> how often, and write id -> what it says there."""

    found: dict[str, int]
    contents: dict[str, str]


def in_events(steps: Iterable[Step], lives: Lives) -> There:
    """What a hop that keeps every event holds. Of a write that is there twice the last contents count that differ from
    the others."""
    there = There({}, {})
    for step in steps:
        name = lives.write_id(step.project, step.incarnation, step.version)
        there.found[name] = there.found.get(name, 0) + 1
        if there.contents.setdefault(name, step.says) != step.says:
            there.contents[name] = step.says
    return there


def in_states(items: Iterable[Project], history: Iterable[Write], lives: Lives, key: bytes) -> There:
    """What a hop that keeps only the last state of each project holds: of writes that were followed by others it is
    known that they were there; of the last one also what it says. A project that is gone shows all its writes, if one
    of the ledger may have deleted it in its last life; otherwise none."""
    rows: Mapping[str, Project] = {item.id: item for item in items}
    there = There({}, {})
    writes = {write.id: (read_name(write.id), write.says) for write in history}
    last_life: dict[str, int] = {}
    for known, _ in writes.values():
        last_life[known.project] = max(known.life, last_life.get(known.project, 1))
    deletions = {
        (known.project, known.life): name for name, (known, meant) in writes.items() if meant == DELETED
    }  # fmt: skip
    for name, (known, meant) in writes.items():
        row = rows.get(known.project)
        if row is None:
            life = lives.count.get(known.project, last_life[known.project])
            passed = known.life < life or (known.project, life) in deletions
            passed = passed and known.life <= life
        else:
            of_row = lives.life(known.project, row.incarnation)
            passed = of_row is not None and (
                known.life < of_row or (known.life == of_row and meant != DELETED and known.version <= row.version)
            )
        if passed:
            there.found[name] = 1
    for project, row in rows.items():
        name = lives.write_id(project, row.incarnation, row.version)
        there.found[name] = 1
        there.contents[name] = says(row, key)
    for (project, _), name in deletions.items():
        if project not in rows and name in there.found:
            there.contents[name] = DELETED
    return there
