"""Which ids a list may show: sorted, so that a page's range costs no more than what is in it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from ledger.sessions.versions import ItemState

_CHUNK = 1_000


class SortedIds:
    """Ids in ascending order, in chunks, so that adding one costs little however many there are."""

    def __init__(self, ids: Iterable[str]) -> None:
        ordered = sorted(ids)
        self._chunks = [ordered[at : at + _CHUNK] for at in range(0, len(ordered), _CHUNK)] or [[]]

    def add(self, key: str) -> None:
        at = self._chunk(key)
        chunk = self._chunks[at]
        place = bisect_left(chunk, key)
        if place < len(chunk) and chunk[place] == key:
            return
        chunk.insert(place, key)
        if len(chunk) > 2 * _CHUNK:
            self._chunks[at : at + 1] = [chunk[:_CHUNK], chunk[_CHUNK:]]

    def discard(self, key: str) -> None:
        at = self._chunk(key)
        chunk = self._chunks[at]
        place = bisect_left(chunk, key)
        if place < len(chunk) and chunk[place] == key:
            del chunk[place]
            if not chunk and len(self._chunks) > 1:
                del self._chunks[at]

    def page(self, after: str | None, last: str | None, descending: bool = False) -> Iterator[str]:
        """Those of a page behind `after`, up to and with `last`; None: no such limit. In ascending order."""
        low, high = (last, after) if descending else (after, last)
        # What equals a limit belongs to the page if it is `last`.
        place = bisect_left if descending else bisect_right
        at = 0 if low is None else self._chunk(low)
        while at < len(self._chunks):
            chunk = self._chunks[at]
            first = 0 if low is None else place(chunk, low)
            end = len(chunk) if high is None else place(chunk, high)
            yield from chunk[first:end]
            if end < len(chunk):
                return
            at += 1

    def _chunk(self, key: str) -> int:
        """The chunk in which an id is or belongs."""
        low, high = 0, len(self._chunks) - 1
        while low < high:
            middle = (low + high) // 2
            if self._chunks[middle][-1] < key:
                low = middle + 1
            else:
                high = middle
        return low


class Lists:
    """Ids by list; a list is only kept once a page of it was seen."""

    def __init__(self, items: dict[str, ItemState]) -> None:
        self._items = items
        self._ids: dict[str, SortedIds] = {}

    def added(self, item: ItemState, lists: tuple[str, ...]) -> None:
        """These lists show a new incarnation."""
        for collection in lists:
            ids = self._ids.get(collection)
            if ids is not None:
                ids.add(item.key)

    def ids(self, collection: str) -> SortedIds:
        ids = self._ids.get(collection)
        if ids is None:
            ids = self._ids[collection] = SortedIds(
                key for key, item in self._items.items() if any(collection in one.lists for one in item.all())
            )
        return ids
