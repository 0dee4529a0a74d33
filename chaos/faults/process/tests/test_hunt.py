"""Where a stopped process stands: the arithmetic of both gaps, and the hunt for them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psutil
import pytest

from chaos.faults.process import hunt as hunting
from chaos.faults.process.hunt import hunt
from chaos.faults.process.instants import ConsumerStands, RelayStands
from ledger.observe.bus import ConsumerState, Cursor

STATE = ConsumerState(ack_floor=Cursor(7, 5), delivered=Cursor(9, 7), num_ack_pending=2, num_pending=0)


@pytest.mark.parametrize(
    ("committed", "unacknowledged", "in_gap"),
    [
        ({"projects.0": 6}, ("projects.0", 6), ("projects.0", 6)),
        ({"projects.0": 9}, ("projects.0", 6), ("projects.0", 6)),
        ({"projects.0": 5}, ("projects.0", 6), None),
        ({"projects.1": 9}, ("projects.0", 1), None),
        ({"projects.0": 6}, None, None),
    ],
)
def test_a_consumer_is_in_the_gap_when_its_first_unacknowledged_event_is_committed(
    committed: dict[str, int], unacknowledged: tuple[str, int] | None, in_gap: tuple[str, int] | None
) -> None:
    assert ConsumerStands(committed, unacknowledged, STATE).in_gap == in_gap


@pytest.mark.parametrize(
    ("stored", "confirmed", "in_gap"),
    [
        ({"projects.0": 6, "projects.1": 3}, {"projects.0": 6, "projects.1": 2}, ("projects.1", 3)),
        ({"projects.0": 6}, {"projects.0": 6}, None),
        ({"projects.0": 0}, {"projects.0": 0}, None),
        ({"projects.0": 6}, {}, ("projects.0", 6)),
        # A republished event is the stream's newest, and lower than what is confirmed.
        ({"projects.0": 4}, {"projects.0": 6}, None),
    ],
)
def test_a_relay_is_in_the_gap_when_the_stream_is_ahead_of_what_it_has_confirmed(
    stored: dict[str, int], confirmed: dict[str, int], in_gap: tuple[str, int] | None
) -> None:
    assert RelayStands(stored, confirmed).in_gap == in_gap


class Stands(NamedTuple):
    in_gap: tuple[str, int] | None


@contextmanager
def prey() -> Iterator[psutil.Process]:
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    try:
        yield psutil.Process(child.pid)
    finally:
        child.kill()
        child.wait(10)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PILE_UP_S", "_LONGEST_RUN_S", "_BREATHE_S", "_SETTLED_AFTER_S"):
        monkeypatch.setattr(hunting, name, 0.001)


def test_the_hunt_goes_on_until_two_looks_agree_that_the_process_is_in_the_gap() -> None:
    # Not there; just leaving (an acknowledgement was under way); there.
    seen: list[tuple[str, int] | None] = [None, None, ("p", 1), None, None, ("p", 2), ("p", 2)]

    async def look() -> Stands:
        assert process.status() == psutil.STATUS_STOPPED
        return Stands(seen.pop(0))

    with prey() as process:
        _, stands = asyncio.run(hunt(process, look, within_s=30))
        assert stands.in_gap == ("p", 2)
        assert seen == []
        assert process.status() == psutil.STATUS_STOPPED


def test_a_hunt_that_catches_nothing_ends_with_the_process_stopped_and_says_so() -> None:
    async def look() -> Stands:
        return Stands(None)

    with prey() as process:
        _, stands = asyncio.run(hunt(process, look, within_s=0))
        assert stands.in_gap is None
        assert process.status() == psutil.STATUS_STOPPED
