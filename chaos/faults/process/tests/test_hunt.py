"""Where a stopped process stands: the arithmetic of both gaps, and the hunt for them."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import pytest
from chaoslib.exceptions import ActivityFailed

from chaos.faults.process import hunt as hunting
from chaos.faults.process.hunt import hunt
from chaos.faults.process.instants import ConsumerStands, RelayStands
from ledger.observe.bus import BusError, ConsumerState, Cursor

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


def test_what_has_left_the_gap_is_counted() -> None:
    assert ConsumerStands({}, None, STATE).passed == 7
    assert RelayStands({}, {"projects.0": 6, "projects.1": 3}).passed == 9


class Stands(NamedTuple):
    in_gap: tuple[str, int] | None
    passed: int = 0


class Prey:
    """A part that can be frozen."""

    def __init__(self) -> None:
        self.frozen = False
        self.alive = True
        self.runs = 0

    def pause(self, *names: str) -> int:
        assert names == ("prey",)
        self.frozen = self.alive
        return int(self.alive)

    def let_run(self, name: str, for_s: float) -> tuple[int, float] | None:
        assert name == "prey"
        assert self.frozen
        self.runs += 1
        return (self.runs, for_s) if self.alive else None


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PILE_UP_S", "_BREATHE_S", "_SETTLED_AFTER_S"):
        monkeypatch.setattr(hunting, name, 0.001)


def test_the_hunt_goes_on_until_two_looks_agree_that_the_part_is_in_the_gap() -> None:
    # Not there; just leaving (an acknowledgement was under way); there.
    seen: list[tuple[str, int] | None] = [None, None, ("p", 1), None, None, ("p", 2), ("p", 2)]
    prey = Prey()

    async def look() -> Stands:
        assert prey.frozen
        return Stands(seen.pop(0))

    at_ns, stands = asyncio.run(hunt(prey, "prey", look, within_s=30))
    assert stands.in_gap == ("p", 2)
    assert seen == []
    assert prey.frozen
    assert at_ns == prey.runs == 2


def test_after_an_event_has_passed_the_hunt_lets_the_part_breathe_and_walks_anew() -> None:
    # The second run jumps over the gap; the third is a breath; the fourth falls into the gap.
    passed_after = {0: 0, 1: 0, 2: 1, 3: 1, 4: 1}
    prey = Prey()

    async def look() -> Stands:
        return Stands(("p", 2) if prey.runs == 4 else None, passed_after[prey.runs])

    at_ns, stands = asyncio.run(hunt(prey, "prey", look, within_s=30))
    assert stands.in_gap == ("p", 2)
    assert at_ns == 4


def test_a_look_that_is_not_answered_is_made_again_and_the_last_one_says_why() -> None:
    answers: list[Stands | None] = [None, None, Stands(("p", 1)), None, Stands(("p", 1))]

    async def look() -> Stands:
        found = answers.pop(0)
        if found is None:
            raise BusError("no answer")
        return found

    _, stands = asyncio.run(hunt(Prey(), "prey", look, within_s=30))
    assert stands.in_gap == ("p", 1)
    assert answers == []

    async def never() -> Stands:
        raise BusError("no answer")

    with pytest.raises(BusError, match="no answer"):
        asyncio.run(hunt(Prey(), "prey", never, within_s=30))


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


def test_a_hunt_for_a_part_that_ends_meanwhile_says_so() -> None:
    prey = Prey()

    async def look() -> Stands:
        prey.alive = False
        return Stands(None)

    with pytest.raises(ActivityFailed, match="expected prey to run"):
        asyncio.run(hunt(prey, "prey", look, within_s=30))
