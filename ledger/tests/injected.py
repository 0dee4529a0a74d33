"""Anomalies put into a correct history, at a place that a seed chooses.

Each takes the history and returns the one with the anomaly, or None where it has no place for it. What is put in is
certain by what the clients know: no legal history explains it.
"""

from __future__ import annotations

import random
from bisect import insort
from collections.abc import Callable, Iterator

import msgspec

from ledger.sessions import Page, Read, Record, Write
from ledger.tests.simulated_store import SOURCES, History

Inject = Callable[[History, random.Random], "list[Record] | None"]
FOREVER = 10**6
"""After everything else in a history."""


def writes(history: History, **of: object) -> list[Write]:
    return [
        record for record in history.records
        if isinstance(record, Write) and all(getattr(record, name) == value for name, value in of.items())
    ]  # fmt: skip


def acknowledged(history: History) -> list[Write]:
    """The creates and updates that were."""
    return [write for write in writes(history, outcome="ok") if write.version is not None]


def reads(history: History) -> list[Read]:
    """Of items that are there."""
    return [record for record in history.records if isinstance(record, Read) and record.incarnation is not None]


def ends(history: History, key: str, before_ns: int) -> bool:
    """Whether something may have deleted the item by then."""
    return any(
        write.invoked_ns <= before_ns and write.outcome != "fail" for write in writes(history, id=key, kind="delete")
    )


def quiet(history: History, key: str) -> bool:
    """Nothing unknown happened to the item, and nobody else writes it; each delete says of which incarnation."""
    return (
        not writes(history, id=key, outcome="unknown")
        and not writes(history, id=key, kind="delete", outcome="ok", incarnation=None)
        and not any(one.id == key and one.incarnation is None for one in history.initial)
    )


def ours(history: History) -> set[str]:
    """The items of which each write is in the history."""
    known = {one.id for one in history.initial if one.incarnation is not None}
    open_ones = {one.id for one in history.initial if one.incarnation is None}
    made = {write.id for write in writes(history, kind="create") if write.outcome != "fail"}
    return known | (made - open_ones)


def changed(history: History, old: Record, new: Record) -> list[Record]:
    return [new if record is old else record for record in history.records]


def added(history: History, *new: Record) -> list[Record]:
    records = [*history.records]
    for record in new:
        insort(records, record, key=lambda one: one.completed_ns)
    return records


def pick(dice: random.Random, candidates: Iterator[list[Record]]) -> list[Record] | None:
    """One of at most a hundred places."""
    places = [place for _, place in zip(range(100), candidates, strict=False)]
    return dice.choice(places) if places else None


def look(write: Write, session: str, version: int, after_ns: int, **further: object) -> Read:
    """A read of what a write was about."""
    given: dict[str, object] = {"source": "primary", "region": "iad", **further}
    return Read(
        session=session, id=write.id, invoked_ns=after_ns + 1, completed_ns=after_ns + 2,
        incarnation=write.incarnation, version=version, **given,  # type: ignore[arg-type]
    )  # fmt: skip


def wrong_contents(history: History, dice: random.Random) -> list[Record] | None:
    said = {(write.id, write.incarnation, write.version) for write in acknowledged(history)}
    return pick(dice, (
        changed(history, read, msgspec.structs.replace(read, digest="another"))
        for read in reads(history)
        if read.digest is not None and (read.id, read.incarnation, read.version) in said
    ))  # fmt: skip


def garbage_read(history: History, dice: random.Random) -> list[Record] | None:
    return pick(dice, (
        changed(history, read, msgspec.structs.replace(read, version=1_000, digest="nobody's"))
        for read in reads(history) if read.id in ours(history) and quiet(history, read.id)
    ))  # fmt: skip


def dirty_read(history: History, dice: random.Random) -> list[Record] | None:
    """An update fails, and yet somebody sees what it said."""

    def places() -> Iterator[list[Record]]:
        for write in acknowledged(history):
            if write.id not in ours(history) or write.version is None:
                continue
            begin, version = write.completed_ns, write.version + 1
            aborted = Write(
                session="x", id=write.id, kind="update", outcome="fail", invoked_ns=begin + 1, completed_ns=begin + 9,
                incarnation=write.incarnation, base=write.version, digest="aborted",
            )  # fmt: skip
            yield added(history, aborted, look(write, "y", version, begin + 3, digest="aborted"))

    return pick(dice, places())


def stale_read(history: History, dice: random.Random) -> list[Record] | None:
    """Somebody new sees what was overwritten more than the bound ago."""
    return pick(dice, (
        added(history, look(write, "x", write.version - 1, write.completed_ns + bound_ns, source=source))
        for write in acknowledged(history) for source, bound_ns in SOURCES.items()
        if write.version is not None and write.version > 1
        and not ends(history, write.id, write.completed_ns + bound_ns + 3)
    ))  # fmt: skip


def non_monotonic_read(history: History, dice: random.Random) -> list[Record] | None:
    return pick(dice, (
        added(history, msgspec.structs.replace(
            read, invoked_ns=read.completed_ns + 1, completed_ns=read.completed_ns + 2, version=read.version - 1,
            digest=None, fresh=False, source="cache",
        ))
        for read in reads(history) if read.version > 1
    ))  # fmt: skip


def own_write_not_seen(history: History, dice: random.Random) -> list[Record] | None:
    return pick(dice, (
        added(history, look(write, write.session, write.version - 1, write.completed_ns, source="cache", fresh=True))
        for write in acknowledged(history)
        if write.version is not None and write.version > 1 and not ends(history, write.id, write.completed_ns + 3)
    ))  # fmt: skip


def write_reordered(history: History, dice: random.Random) -> list[Record] | None:
    """Two updates, one after the other, are acknowledged the other way round."""

    def places() -> Iterator[list[Record]]:
        for first in acknowledged(history):
            for then in acknowledged(history):
                if (
                    (first.id, first.incarnation) == (then.id, then.incarnation)
                    and first.base is None and then.base is None and first.kind == then.kind == "update"
                    and first.completed_ns < then.invoked_ns
                ):  # fmt: skip
                    swapped = {
                        id(first): msgspec.structs.replace(first, version=then.version),
                        id(then): msgspec.structs.replace(then, version=first.version),
                    }
                    yield [swapped.get(id(record), record) for record in history.records]

    return pick(dice, places())


def write_resurrected(history: History, dice: random.Random) -> list[Record] | None:
    return pick(dice, (
        added(history, look(delete, "x", delete.base or 1, delete.completed_ns + bound_ns, source=source))
        for delete in writes(history, kind="delete", outcome="ok") for source, bound_ns in SOURCES.items()
        if delete.incarnation is not None
    ))  # fmt: skip


def lost_update(history: History, dice: random.Random) -> list[Record] | None:
    """A second update on the same base is acknowledged, too."""
    return pick(dice, (
        added(history, msgspec.structs.replace(
            write, session="x", invoked_ns=write.completed_ns + 1, completed_ns=write.completed_ns + 5, digest="other"
        ))
        for write in acknowledged(history) if write.base is not None
    ))  # fmt: skip


def update_gone(history: History, dice: random.Random) -> list[Record] | None:
    """The last acknowledged update of an item is gone: all who ask the primary at the end see the version before."""

    def places() -> Iterator[list[Record]]:
        for write in acknowledged(history):
            if write.id not in ours(history) or write.version in (None, 1) or ends(history, write.id, FOREVER):
                continue
            version = (write.version or 0) - 1
            yield [*history.records, look(write, "x", version, FOREVER), look(write, "y", version, FOREVER + 9)]

    return pick(dice, places())


def create_gone(history: History, dice: random.Random) -> list[Record] | None:
    """An item that nobody deleted isn't there at the end."""
    return pick(dice, (
        [*history.records, *(
            msgspec.structs.replace(look(write, session, 0, FOREVER + at), incarnation=None)
            for at, session in enumerate("xyz")
        )]
        for write in writes(history, kind="create", outcome="ok")
        if write.id in ours(history) and not ends(history, write.id, FOREVER)
    ))  # fmt: skip


def refused_without_reason(history: History, dice: random.Random) -> list[Record] | None:
    """A conflict on a version that nobody changed."""

    def places() -> Iterator[list[Record]]:
        for write in acknowledged(history):
            later = any(
                other.id == write.id and other is not write and other.completed_ns > write.invoked_ns
                for other in writes(history) if other.outcome != "fail"
            )  # fmt: skip
            if write.id in ours(history) and quiet(history, write.id) and not later:
                yield [*history.records, Write(
                    session=write.session, id=write.id, kind="update", outcome="fail", invoked_ns=FOREVER,
                    completed_ns=FOREVER + 1, incarnation=write.incarnation, base=write.version, conflict=True,
                )]  # fmt: skip

    return pick(dice, places())


def doubled_write(history: History, dice: random.Random) -> list[Record] | None:
    """An update moves the version by two."""
    return pick(dice, (
        changed(history, write, msgspec.structs.replace(write, version=write.version + 1))
        for write in acknowledged(history)
        if write.version is not None and quiet(history, write.id) and write.id in ours(history)
        and not any(
            other.id == write.id and other.incarnation == write.incarnation and (other.version or 0) > write.version
            for other in acknowledged(history)
        )
    ))  # fmt: skip


def page_incomplete(history: History, dice: random.Random) -> list[Record] | None:
    """A page of a list by id drops an item that was there all the time."""

    def places() -> Iterator[list[Record]]:
        for page in history.records:
            if not isinstance(page, Page) or page.collection != "all" or page.sort == "value":
                continue
            for place, shown in enumerate(page.items):
                since = [
                    write.completed_ns for write in writes(history, id=shown.id, outcome="ok", kind="create")
                    if write.incarnation == shown.incarnation
                ]  # fmt: skip
                known = [-1 for one in history.initial if one.incarnation == shown.incarnation]
                there = any(instant < page.invoked_ns - SOURCES[page.source] for instant in since + known)
                between = page.last or place < len(page.items) - 1
                if (
                    there and between and shown.id in ours(history) and numbered(history, page)
                    and not ends(history, shown.id, page.completed_ns)
                ):  # fmt: skip
                    items = (*page.items[:place], *page.items[place + 1 :])
                    yield changed(history, page, msgspec.structs.replace(page, items=items))

    return pick(dice, places())


def numbered(history: History, page: Page) -> bool:
    """Whether no other walk of the session came between, so that the pages before it are known."""
    mine = [
        other for other in history.records
        if isinstance(other, Page) and other.session == page.session and other.completed_ns <= page.completed_ns
    ]  # fmt: skip
    return all(other.walk == page.walk for other in mine[-page.number :])


def page_out_of_order(history: History, dice: random.Random) -> list[Record] | None:
    """Two items of a page change places, or one is shown twice."""

    def places() -> Iterator[list[Record]]:
        for page in history.records:
            if isinstance(page, Page) and len(page.items) > 1:
                items = (page.items[1], *page.items[1:]) if dice.random() < 0.5 else (*page.items[::-1],)
                yield changed(history, page, msgspec.structs.replace(page, items=items))

    return pick(dice, places())


def walk_without_end(history: History, dice: random.Random) -> list[Record] | None:
    return pick(dice, (
        changed(history, page, msgspec.structs.replace(page, items=(), last=False))
        for page in history.records if isinstance(page, Page)
    ))  # fmt: skip


INJECTIONS: list[tuple[Inject, tuple[str, ...]]] = [
    (wrong_contents, ("wrong contents",)),
    (garbage_read, ("garbage read",)),
    (dirty_read, ("dirty read",)),
    (stale_read, ("stale read",)),
    # What is stale for everybody is called so.
    (non_monotonic_read, ("non-monotonic read", "stale read")),
    (own_write_not_seen, ("own write not seen",)),
    (write_reordered, ("write reordered",)),
    (write_resurrected, ("write resurrected",)),
    (lost_update, ("lost update",)),
    (update_gone, ("lost update",)),
    (create_gone, ("lost update",)),
    (refused_without_reason, ("lost update",)),
    # What is seen in between may look like a write that failed.
    (doubled_write, ("doubled write", "dirty read")),
    # The session may have seen the item, or written it.
    (page_incomplete, ("page incomplete", "non-monotonic read", "own write not seen")),
    (page_out_of_order, ("page out of order",)),
    (walk_without_end, ("walk without end",)),
]
"""And what each is called."""
