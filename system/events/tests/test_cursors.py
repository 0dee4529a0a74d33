"""The search for a sequence in a stream, and which durables are cursors."""

from __future__ import annotations

import asyncio
import bisect
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from nats.js.errors import NotFoundError

from system.events import cursors
from system.wire import POSITIONS_HEADER, PROJECTS_STREAM


class Stream:
    """A JetStream that holds these positions of `projects.0`, from the sequence `first` on."""

    def __init__(self, first: int, positions: list[int]) -> None:
        self._first = first
        self._positions = positions
        self.rounds = 0

    async def stream_info(self, _: str) -> Any:
        last = self._first + len(self._positions) - 1
        return SimpleNamespace(state=SimpleNamespace(first_seq=self._first, last_seq=last))

    async def get_msg(self, _: str, *, seq: int, subject: str, **__: object) -> Any:
        at = max(0, seq - self._first)
        if not subject.endswith(".0") or at >= len(self._positions):
            raise NotFoundError
        self.rounds += 1
        position = self._positions[at]
        return SimpleNamespace(seq=self._first + at, headers={POSITIONS_HEADER: f"{position}-{position}"})


@given(first=st.integers(1, 50), count=st.integers(0, 3_000), applied=st.integers(0, 3_500))
def test_the_search_finds_what_reading_every_message_would(first: int, count: int, applied: int) -> None:
    positions = list(range(1, count + 1))
    stream = Stream(first, positions)
    found = asyncio.run(cursors.first_lacking(stream, PROJECTS_STREAM, {"projects.0": applied}))  # type: ignore[arg-type]
    assert found == first + bisect.bisect_right(positions, applied)


def test_a_million_messages_are_searched_in_five_rounds() -> None:
    stream = Stream(1, list(range(1, 1_000_001)))
    asyncio.run(cursors.first_lacking(stream, PROJECTS_STREAM, {"projects.0": 777_777}))  # type: ignore[arg-type]
    assert stream.rounds <= 6 * cursors.AT_ONCE


@given(low=st.integers(1, 10**6), width=st.integers(1, 10**6))
def test_the_probes_of_a_round_are_inside_and_narrow_the_range(low: int, width: int) -> None:
    places = list(cursors._spread(low, low + width))
    assert places == sorted(set(places))
    assert 1 <= len(places) <= cursors.AT_ONCE
    assert low <= places[0]
    assert places[-1] < low + width
    assert places[0] < low + width - 1 or width <= cursors.AT_ONCE + 1
