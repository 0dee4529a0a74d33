"""The totals of all regions as JSON, from the region's cache, else from the database. Concurrent requests share one
query, so that an emptied cache does not send all of them to the database.
"""

from __future__ import annotations

from system.api.http.messages import Page, encode
from system.store import rollups
from system.store.reader import Reader
from system.store.single_flight import SingleFlight
from system.store.valkey.totals_cache import TotalsCache


def shared_totals(reader: Reader, cache: TotalsCache) -> SingleFlight[bytes]:
    """Gets the encoded page of all totals. NothingToRead."""

    async def ask() -> bytes:
        cached = await cache.get()
        if cached is not None:
            return cached
        [row] = await reader.fetch(rollups.TOTALS)
        totals = rollups.totals(row)
        page = encode(Page(items=totals, next=None))
        await cache.fill(page, totals[0].as_of)
        return page

    return SingleFlight(ask)
