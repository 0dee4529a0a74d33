"""What the clients of an API did and saw: the records that `ledger.sessions` judges.

All instants are ns of one clock. `invoked_ns` is when the first byte of a request could have left, `completed_ns` when
its answer was there or given up. A write that was tried several times under one idempotency key is one record, from
its first try to the end of its last; one that a 412 answered after a retry is `unknown`, since the first try may have
happened. One that has no end is `unknown` at the end of the history. A session is what one client does one after the
other; what overlaps within a session is ordered by nothing. A client that is promised an order by each source only is
a session for each.

Each record is encoded as a list; fields are only appended.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from reports.evidence import Outcome

Incarnation = int | str
"""Names one life of an id; new whenever the id is created anew. Only equality counts."""
Digest = str
"""Of an item's canonical form. Equal for equal contents."""
Key = int | float | str
"""What a list is sorted by."""
BY_ID = ("id", "-id")
"""The sorts in which no item ever changes its place."""


class Initial(msgspec.Struct, frozen=True, kw_only=True, gc=False, array_like=True, tag="initial"):
    """An item that was there before the history begins. Without an incarnation its state is unknown and others may
    write it, too: it is only held against what was acknowledged and seen."""

    id: str
    incarnation: Incarnation | None = None
    version: int = 0
    digest: Digest | None = None
    lists: tuple[str, ...] = ()
    """The lists that show it: see Write.lists."""
    since_ns: int = -1
    """When that was established, before the history begins: replicas may still be behind it."""


class Write(msgspec.Struct, frozen=True, kw_only=True, gc=False, array_like=True, tag="write"):
    """A create, update or delete, and how its client saw it end."""

    session: str
    id: str
    kind: Literal["create", "update", "delete"]
    outcome: Outcome
    """`fail`: it certainly did not happen. `unknown`: it may have happened, or may still happen."""
    invoked_ns: int
    completed_ns: int
    incarnation: Incarnation | None = None
    """Of `If-Match` and, if the outcome is ok, as acknowledged. None: not known, as for `*`."""
    base: int | None = None
    """The version of `If-Match`; None for `*` and for a create."""
    version: int | None = None
    """The version that was acknowledged, counted from 1 in each incarnation. A delete makes none."""
    digest: Digest | None = None
    """Of the item as this write leaves it; None if that isn't known: then no contents are compared."""
    lists: tuple[str, ...] | None = None
    """The lists (a collection, or one with a filter) that show the item as this write leaves it. None: as before."""
    conflict: bool = False
    """The outcome is fail because the item isn't at `base`: 412, or 404 to an If-Match."""


class Read(msgspec.Struct, frozen=True, kw_only=True, gc=False, array_like=True, tag="read"):
    """One item, as a client saw it. Answers that failed are no reads."""

    session: str
    id: str
    source: str
    """Who answered, as far as its bound goes: primary, replica, cache."""
    region: str
    invoked_ns: int
    completed_ns: int
    incarnation: Incarnation | None = None
    """None: there was no such item."""
    version: int = 0
    digest: Digest | None = None
    """None: the contents were not looked at."""
    fresh: bool = False
    """It must show the session's own writes, as with a read-your-writes token."""


class Shown(msgspec.Struct, frozen=True, kw_only=True, gc=False, array_like=True):
    """An item on a page."""

    id: str
    incarnation: Incarnation
    version: int
    digest: Digest | None = None
    key: Key | None = None
    """What the list is sorted by, if not by id. None: the order is not checked, as for a collation that isn't ours."""


class Page(msgspec.Struct, frozen=True, kw_only=True, gc=False, array_like=True, tag="page"):
    """A page of a list. A session walks one list at a time; the pages of a walk are numbered from 1, the first one is
    asked for without a cursor, each next one with that of the page before."""

    session: str
    walk: str
    number: int
    collection: str
    """Which list: what Write.lists names."""
    source: str
    region: str
    invoked_ns: int
    completed_ns: int
    items: tuple[Shown, ...]
    last: bool
    """It named no next page."""
    sort: str = "id"
    """`id`, `-id` (descending), or another field, whose values are in Shown.key."""
    fresh: bool = False


Record = Write | Read | Page
