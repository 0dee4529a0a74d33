"""What a session must not see less than, by item."""

from __future__ import annotations

from typing import NamedTuple

from ledger.sessions.versions import DELETED, IncarnationState, ItemState

_DEPTH_MAX = 8
"""An answer that overlaps more than so many others of its session, each of which showed more, may go unjudged."""


class Floor(NamedTuple):
    one: IncarnationState
    version: int
    """Or DELETED."""
    at_ns: int
    """What is invoked after it must show no less."""
    before: Floor | None
    """The one before it holds for what overlaps this one."""
    depth: int


_new = tuple.__new__
"""Makes a Floor in a third of the time."""


class Floors(dict[ItemState, Floor]):
    def before(self, item: ItemState, invoked_ns: int) -> Floor | None:
        """What held for this item when an operation was invoked."""
        floor = self.get(item)
        while floor is not None and floor.at_ns >= invoked_ns:
            floor = floor.before
        return floor

    def rise(self, item: ItemState, one: IncarnationState, version: int, at_ns: int) -> None:
        before = self.get(item)
        if before is not None and before.depth == _DEPTH_MAX:
            before = before._replace(before=None, depth=1)
        depth = 1 if before is None else before.depth + 1
        self[item] = _new(Floor, (one, version, at_ns, before, depth))

    def sweep(self, horizon_ns: int) -> None:
        """Forget what was established before the horizon: everybody has to show it by now."""
        for item, floor in [*self.items()]:
            one, version = floor.one, floor.version
            if one.dead_by < horizon_ns if version == DELETED else one.established(horizon_ns) >= version:
                del self[item]
