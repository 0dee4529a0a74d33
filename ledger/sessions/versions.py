"""What is known of each item: its incarnations, their versions, and since when each is established.

A version is established once it was acknowledged, or once a source without staleness showed it and a write is known
that explains it: from then on every answer has to be at least as new. What can only be judged when a write that is
still under way has ended waits in `Deferred`. Pure state; the judging is in `reads`, `writes` and `verdict`.
"""

from __future__ import annotations

from collections.abc import Iterator

from ledger.sessions.deferred import NEVER, Deferred
from ledger.sessions.history import Digest, Incarnation, Write
from ledger.sessions.superseded import UNSEEN, Gap, Superseded, without

DELETED = 2**62
"""Stands for a version after all others of its incarnation."""
_ANY: Digest = "\0any"
Base = tuple[Incarnation | None, int | None]
"""The incarnation and version that a write was conditioned on, None where it wasn't; (None, 0): a create."""
Tries = dict[Base, dict[Digest | None, int]]
"""By base and digest the earliest instant that such a write was invoked; _ANY has that of all digests."""


class Moves:
    """Which lists an item may have left."""

    __slots__ = ("_from_ns", "_kept")

    def __init__(self) -> None:
        self._kept: tuple[str, ...] | None = None
        """The lists that all changes so far leave it in; None if there were none that say so."""
        self._from_ns = NEVER

    def note(self, write: Write) -> None:
        """An update, acknowledged or of unknown outcome, that says which lists show the item."""
        assert write.lists is not None, "the caller looks"
        self._from_ns = min(self._from_ns, write.invoked_ns)
        if self._kept is None:
            self._kept = write.lists
        elif self._kept != write.lists:
            self._kept = tuple(collection for collection in self._kept if collection in write.lists)

    def may_have_left(self, collection: str, by_ns: int) -> bool:
        return self._from_ns <= by_ns and self._kept is not None and collection not in self._kept


class _Newest:
    """What nearly every answer is held against: next to each other in memory, which is half of the time."""

    __slots__ = ("digest", "incarnation", "plain", "seen", "since_ns", "version")


class IncarnationState(_Newest):
    """One life of an item."""

    __slots__ = (
        "born_after", "born_by", "contested", "created", "dead_by", "dead_from", "deferred", "deleted_base", "first",
        "known_by", "lists", "moves", "older",
    )  # fmt: skip

    def __init__(self, incarnation: Incarnation) -> None:
        self.incarnation = incarnation
        self.created = False
        """Its create was acknowledged, or it was there from the beginning."""
        self.first = 1
        """The version it was created with, or had at the beginning."""
        self.born_after = -1
        """Its creation lies between these two instants."""
        self.born_by = NEVER
        self.known_by = NEVER
        """When its existence was established."""
        self.dead_from = NEVER
        """The earliest instant a write that may have deleted it was invoked."""
        self.dead_by = NEVER
        """When its end was established."""
        self.deleted_base: int | None = None
        """The base of its acknowledged delete, DELETED if that had none; None without such a delete."""
        self.version = 0
        """The newest that is established, since when, and with which contents."""
        self.since_ns = NEVER
        self.digest: Digest | None = UNSEEN
        self.seen = 0
        """The greatest version in any answer."""
        self.older: Superseded | None = None
        self.lists: tuple[str, ...] = ()
        """Which show it, from its creation on."""
        self.moves: Moves | None = None
        self.deferred: Deferred | None = None
        self.contested = False
        """Sessions may have seen its end, or another incarnation that isn't established."""
        self.plain = True
        """It is not contested, not gone, and nothing of it waits."""

    def established(self, before_ns: int) -> int:
        """The newest version established before an instant, 0 if none was."""
        if self.since_ns < before_ns:
            return self.version
        return 0 if self.older is None else self.older.established(before_ns)

    def established_by(self, version: int) -> int:
        """When this version or a later one was established, at the latest; NEVER if it isn't."""
        at_ns = None if self.older is None else self.older.established_by(version)
        if at_ns is not None:
            return at_ns
        return self.since_ns if version <= self.version else NEVER

    def digest_of(self, version: int) -> Digest | None:
        """What its acknowledged write says, None if that isn't known, UNSEEN without an acknowledged write."""
        if version == self.version:
            return self.digest
        return UNSEEN if self.older is None else self.older.digest_of(version)

    def settle(self, version: int, digest: Digest | None, at_ns: int, keep_ns: int) -> None:
        """A version was acknowledged (or, with UNSEEN, established by being seen)."""
        if version > self.version:
            if self.version:
                if self.older is None:
                    self.older = Superseded(self.first)
                gaps = self.older.add((self.since_ns, self.version, self.digest), at_ns - keep_ns)
                if gaps:
                    self.waiting().gaps += gaps
            self.version, self.since_ns, self.digest = version, at_ns, digest
        elif version == self.version:
            if digest is not UNSEEN:
                self.digest = digest
        elif digest is not UNSEEN:
            if self.older is None:
                self.older = Superseded(self.first)
            if self.older.acknowledge(version, digest) and self.deferred is not None:
                self.deferred.gaps = without(self.deferred.gaps, version)

    def show(self, item: ItemState, at_ns: int) -> None:
        """It was seen or changed; instants only rise."""
        if self.born_by == NEVER:
            self.born_by = at_ns
        if item.present_by == NEVER:
            item.present_by = at_ns

    def end(self, by_ns: int) -> None:
        """It was gone for certain by then."""
        self.plain = False
        self.dead_by = min(self.dead_by, by_ns)

    def contest(self) -> None:
        self.plain, self.contested = False, True

    def waited(self) -> None:
        """Nothing of it waits any more."""
        self.deferred = None
        self.plain = self.dead_by == NEVER and not self.contested

    def waiting(self) -> Deferred:
        self.plain = False
        if self.deferred is None:
            self.deferred = Deferred()
        return self.deferred

    def acknowledged(self) -> list[int]:
        """The versions, in order, that were, except what is pruned."""
        newest = [] if self.digest is UNSEEN else [self.version]
        return newest if self.older is None else sorted([*self.older.acknowledged(), *newest])

    def all_gaps(self) -> list[Gap]:
        """(first, last) of versions below the newest acknowledged one without an acknowledged write."""
        pruned = [] if self.deferred is None else self.deferred.gaps
        return [*pruned, *(self.older or Superseded(self.first)).gaps(self.acknowledged())]


def surely_older(one: IncarnationState, other: IncarnationState) -> bool:
    return one.born_by < other.born_after


class ItemState:
    """All incarnations of an id, and the writes to it that were not acknowledged."""

    __slots__ = (
        "before", "existed", "failed", "key", "last", "moves", "others", "present_by", "swept_by", "swept_from",
        "tried_from", "unknown", "wild_ns",
    )  # fmt: skip

    def __init__(self, key: str) -> None:
        self.key = key
        self.last: IncarnationState | None = None
        """The newest whose existence is established."""
        self.before: list[IncarnationState] | None = None
        """Those before it, in the order in which they were established."""
        self.others: dict[Incarnation, IncarnationState] | None = None
        """All but `last`."""
        self.existed = ""
        """`known` or `unknown`: it was there before the history, in this state."""
        self.tried_from = NEVER
        """When a create that succeeded or may have was first invoked."""
        self.present_by = NEVER
        """When it was first seen or changed."""
        self.wild_ns = NEVER
        """When a delete of whatever incarnation, outcome unknown, was first invoked."""
        self.swept_from = NEVER
        """When such deletes that were acknowledged were first invoked, and last completed."""
        self.swept_by = -1
        self.unknown: Tries | None = None
        """The creates and updates of unknown outcome, and those that failed."""
        self.failed: Tries | None = None
        self.moves: Moves | None = None
        """Of updates of whatever incarnation, of unknown outcome."""

    def find(self, incarnation: Incarnation) -> IncarnationState | None:
        last = self.last
        if last is not None and last.incarnation == incarnation:
            return last
        return None if self.others is None else self.others.get(incarnation)

    def get(self, incarnation: Incarnation) -> IncarnationState:
        """This incarnation, of which nothing need be known."""
        found = self.find(incarnation)
        if found is None:
            found = IncarnationState(incarnation)
            if self.others is None:
                self.others = {}
            self.others[incarnation] = found
        return found

    def establish(self, one: IncarnationState, at_ns: int) -> None:
        """The existence of an incarnation is certain from now on."""
        if one.known_by != NEVER:
            return
        one.known_by = at_ns
        one.born_by = min(one.born_by, at_ns)
        last = self.last
        assert self.others is not None, "it was found or made by `get`"
        if last is not None:
            if self.before is None:
                self.before = []
            if one.dead_by != NEVER:  # Its end came before what establishes that it ever was.
                self.before.append(one)
                return
            self.before.append(last)
            self.others[last.incarnation] = last
        del self.others[one.incarnation]
        if any(other.known_by == NEVER for other in self.others.values()):
            one.contest()
        self.others = self.others or None
        self.last = one

    def newest(self, before_ns: int) -> IncarnationState | None:
        """The newest incarnation established before an instant."""
        last = self.last
        if last is None or last.known_by < before_ns:
            return last
        for one in reversed(self.before or ()):
            if one.known_by < before_ns:
                return one
        return None

    def may_be_gone(self, one: IncarnationState, by_ns: int) -> bool:
        if one.dead_from <= by_ns or self.wild_ns <= by_ns:
            return True
        return self.swept_from <= by_ns and one.born_after <= self.swept_by

    def may_have_left(self, one: IncarnationState, collection: str, by_ns: int) -> bool:
        return any(moves is not None and moves.may_have_left(collection, by_ns) for moves in (one.moves, self.moves))

    def all(self) -> Iterator[IncarnationState]:
        if self.last is not None:
            yield self.last
        yield from (self.others or {}).values()

    def is_open(self, complete: bool) -> bool:
        """Whether others may have written it before or besides this history."""
        if self.existed:
            return self.existed == "unknown"
        return not complete and (self.tried_from == NEVER or self.present_by <= self.tried_from)

    def explained(self, incarnation: Incarnation, version: int, digest: Digest | None, by_ns: int) -> bool:
        """Whether a write of unknown outcome may have made this version with these contents by then. One write may
        explain several versions: that can hide an anomaly, and never makes one up."""
        wanted = (_ANY,) if digest is None else (digest, None)
        return _made(self.unknown, _bases(incarnation, version), wanted, by_ns)

    def explained_by_any(self, incarnation: Incarnation, by_ns: int) -> bool:
        """Whether an update without a condition, of unknown outcome, was invoked by then."""
        return _made(self.unknown, ((incarnation, None), (None, None)), (_ANY,), by_ns)

    def failed_with(self, incarnation: Incarnation, version: int, digest: Digest, by_ns: int) -> bool:
        """Whether a write that failed would have made this version with these contents."""
        return _made(self.failed, _bases(incarnation, version), (digest,), by_ns)

    def tried_with(self, incarnation: Incarnation, version: int, digest: Digest, by_ns: int) -> bool:
        """Whether a write that failed, or whose outcome is unknown, would have."""
        return self.failed_with(incarnation, version, digest, by_ns) or (
            _made(self.unknown, _bases(incarnation, version), (digest,), by_ns)
        )

    def note(self, write: Write) -> None:
        """A write that was not acknowledged."""
        if write.outcome == "unknown":
            self.unknown = tries = {} if self.unknown is None else self.unknown
        else:
            self.failed = tries = {} if self.failed is None else self.failed
        base: Base = (None, 0) if write.kind == "create" else (write.incarnation, write.base)
        by_digest = tries.setdefault(base, {})
        for digest in (write.digest, _ANY):
            by_digest[digest] = min(by_digest.get(digest, NEVER), write.invoked_ns)


def _bases(incarnation: Incarnation, version: int) -> tuple[Base, ...]:
    return (incarnation, version - 1), (None, version - 1), (incarnation, None), (None, None)


def _made(tries: Tries | None, bases: tuple[Base, ...], digests: tuple[Digest | None, ...], by_ns: int) -> bool:
    if tries is None:
        return False
    return any(
        digest in by_digest and by_digest[digest] <= by_ns
        for base in bases
        if (by_digest := tries.get(base)) is not None
        for digest in digests
    )
