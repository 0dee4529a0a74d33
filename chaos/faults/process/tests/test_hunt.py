"""Where a stopped process stands: the arithmetic of both gaps, and the hunt for them."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import pytest
from chaoslib.exceptions import ActivityFailed

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


class Prey:
    """A part that can be frozen."""

    def __init__(self) -> None:
        self.frozen = False
        self.alive = True

    def pause(self, *names: str) -> int:
        assert names == ("prey",)
        self.frozen = self.alive
        return int(self.alive)

    def resume(self, *names: str) -> None:
        assert names == ("prey",)
        self.frozen = False


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PILE_UP_S", "_LONGEST_RUN_S", "_BREATHE_S", "_SETTLED_AFTER_S"):
        monkeypatch.setattr(hunting, name, 0.001)


def test_the_hunt_goes_on_until_two_looks_agree_that_the_part_is_in_the_gap() -> None:
    # Not there; just leaving (an acknowledgement was under way); there.
    seen: list[tuple[str, int] | None] = [None, None, ("p", 1), None, None, ("p", 2), ("p", 2)]
    prey = Prey()

    async def look() -> Stands:
        assert prey.frozen
        return Stands(seen.pop(0))

    _, stands = asyncio.run(hunt(prey, "prey", look, within_s=30))
    assert stands.in_gap == ("p", 2)
    assert seen == []
    assert prey.frozen


def test_a_hunt_that_catches_nothing_ends_with_the_part_frozen_and_says_so() -> None:
    prey = Prey()

    async def look() -> Stands:
        return Stands(None)

    _, stands = asyncio.run(hunt(prey, "prey", look, within_s=0))
    assert stands.in_gap is None
    assert prey.frozen


def test_a_hunt_for_a_part_that_has_ended_says_so() -> None:
    prey = Prey()
    prey.alive = False

    async def look() -> Stands:
        raise AssertionError("nothing to look at")

    with pytest.raises(ActivityFailed, match="expected prey to run"):
        asyncio.run(hunt(prey, "prey", look, within_s=30))
