"""Short words for histories of one item, `a`, unless another is named. Instants are small numbers; a replica may be ten
behind."""

from __future__ import annotations

from typing import Any

from ledger.sessions import Findings, Initial, Page, Read, Record, Shown, Write, check

SOURCES = {"primary": 0, "replica": 10}
HERE = Initial(id="a", incarnation=1, version=1, digest="A", lists=("all",))
"""`a` was there before, in incarnation 1 and version 1."""


def create(who: str, began: int, ended: int, **further: Any) -> Record:
    given = {"outcome": "ok", "id": "a", "digest": "A", "lists": ("all",), **further}
    if given["outcome"] == "ok":
        given = {"incarnation": 1, "version": 1, **given}
    return Write(session=who, kind="create", invoked_ns=began, completed_ns=ended, **given)


def update(who: str, began: int, ended: int, base: int | None, digest: str | None = "B", **further: Any) -> Record:
    """Makes the version after its base, if nothing else is said."""
    given = {"outcome": "ok", "id": "a", "incarnation": 1, **further}
    if given["outcome"] == "ok" and base is not None:
        given = {"version": base + 1, **given}
    return Write(
        session=who, kind="update", invoked_ns=began, completed_ns=ended, base=base, digest=digest, **given
    )  # fmt: skip


def delete(who: str, began: int, ended: int, base: int | None = None, **further: Any) -> Record:
    given = {"outcome": "ok", "id": "a", "incarnation": 1, **further}
    return Write(session=who, kind="delete", invoked_ns=began, completed_ns=ended, base=base, **given)


def read(who: str, began: int, ended: int, version: int, digest: str | None = None, **further: Any) -> Record:
    given = {"source": "primary", "region": "iad", "id": "a", "incarnation": 1, **further}
    return Read(session=who, invoked_ns=began, completed_ns=ended, version=version, digest=digest, **given)


def absent(who: str, began: int, ended: int, **further: Any) -> Record:
    return read(who, began, ended, 0, incarnation=None, **further)


def page(who: str, began: int, ended: int, *items: str | Shown, number: int = 1, **further: Any) -> Record:
    """Items are ids, in incarnation and version 1, or said as they are."""
    given = {
        "walk": "w", "collection": "all", "source": "primary", "region": "iad", "last": True, **further,
    }  # fmt: skip
    shown = tuple(Shown(id=one, incarnation=1, version=1) if isinstance(one, str) else one for one in items)
    return Page(session=who, invoked_ns=began, completed_ns=ended, number=number, items=shown, **given)


def judged(*records: Record, initial: tuple[Initial, ...] = (), **options: Any) -> Findings:
    return check(sorted(records, key=lambda one: one.completed_ns), SOURCES, initial, **options)


def kinds(*records: Record, initial: tuple[Initial, ...] = (), **options: Any) -> dict[str, int]:
    """How many of each kind of anomaly are found."""
    return judged(*records, initial=initial, **options).totals
