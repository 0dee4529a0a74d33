"""The versions of an incarnation before its newest, and those pruned."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from operator import itemgetter

from ledger.sessions.history import Digest

UNSEEN: Digest = "\0unseen"
"""Stands for the digest of a version that no write is known for. Compared by identity."""
Step = tuple[int, int, Digest | None]
"""Since when a version is established, which, and what its acknowledged write says: None if that isn't known."""
Gap = tuple[int, int]
"""The first and the last of versions without an acknowledged write."""
_VERSION = itemgetter(1)
_PRUNE_AT = 8


class Superseded:
    __slots__ = ("_checked", "_late", "_prune_at", "_steps", "lowest")

    def __init__(self, first: int) -> None:
        """`first` is the version that the incarnation begins with."""
        self._steps: list[Step] = []
        """Instants and versions rise."""
        self._late: dict[int, Digest | None] | None = None
        """Acknowledged after one of a greater version: they are no steps."""
        self.lowest = 0
        """Below it versions are pruned: an answer that shows one is stale, its contents are not compared."""
        self._checked = first - 1
        """Up to here gaps were looked for."""
        self._prune_at = _PRUNE_AT

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, step: Step, horizon_ns: int) -> list[Gap]:
        """A newer version has been established. What was superseded before the horizon is forgotten, but for the newest
        such version; the gaps among what is."""
        self._steps.append(step)
        return self._prune(horizon_ns) if len(self._steps) >= self._prune_at else []

    def acknowledge(self, version: int, digest: Digest | None) -> bool:
        """A version below the newest was acknowledged. True if that may have been called a gap already."""
        at = self._find(version)
        if at is None:
            self._late = {} if self._late is None else self._late
            self._late[version] = digest
        else:
            self._steps[at] = (self._steps[at][0], version, digest)
        return version <= self._checked

    def established(self, before_ns: int) -> int:
        """The newest of these versions established before an instant, 0 if none was."""
        at = bisect_left(self._steps, (before_ns,))
        return self._steps[at - 1][1] if at else 0

    def established_by(self, version: int) -> int | None:
        """When this version or a later one of these was established, at the latest; None if none was."""
        at = bisect_left(self._steps, version, key=_VERSION)
        return self._steps[at][0] if at < len(self._steps) else None

    def digest_of(self, version: int) -> Digest | None:
        """UNSEEN without an acknowledged write."""
        at = self._find(version)
        digest = UNSEEN if at is None else self._steps[at][2]
        return self._late.get(version, UNSEEN) if digest is UNSEEN and self._late is not None else digest

    def acknowledged(self) -> list[int]:
        """The versions that were, except those pruned."""
        return [*(version for _, version, digest in self._steps if digest is not UNSEEN), *(self._late or ())]

    def gaps(self, acknowledged: Iterable[int]) -> Iterator[Gap]:
        """Those that were not called so when they were pruned, below and among these versions."""
        behind = self._checked
        for version in sorted(acknowledged):
            if version > behind + 1:
                yield behind + 1, version - 1
            behind = max(behind, version)

    def _find(self, version: int) -> int | None:
        steps = self._steps
        if not steps:
            return None
        at = version - steps[0][1]  # Where one followed on the other.
        if not (0 <= at < len(steps) and steps[at][1] == version):
            at = bisect_left(steps, version, key=_VERSION)
        return at if at < len(steps) and steps[at][1] == version else None

    def _prune(self, horizon_ns: int) -> list[Gap]:
        gaps: list[Gap] = []
        cut = bisect_left(self._steps, (horizon_ns,)) - 1
        if cut > 0:
            lowest = self._steps[cut][1]
            gone = [version for version in self.acknowledged() if version < lowest]
            gaps = list(self.gaps([*gone, lowest]))
            del self._steps[:cut]
            self._late = {version: digest for version, digest in (self._late or {}).items() if version > lowest} or None
            self.lowest, self._checked = lowest, max(self._checked, lowest - 1)
        self._prune_at = max(_PRUNE_AT, 2 * len(self._steps))
        return gaps


def without(gaps: list[Gap], version: int) -> list[Gap]:
    """Gaps that a version is taken out of."""
    left: list[Gap] = []
    for first, last in gaps:
        if first <= version <= last:
            left += [(low, high) for low, high in ((first, version - 1), (version + 1, last)) if low <= high]
        else:
            left.append((first, last))
    return left
