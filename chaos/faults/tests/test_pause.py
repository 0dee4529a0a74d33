"""A pause and its undo, on real parts: frozen for its clients, open in the journal, and whole again by any process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chaoslib.exceptions import ActivityFailed

from chaos import running
from chaos.faults.process import pause
from chaos.healing import heal, open_faults
from infra.fabric.process.system import System
from infra.machine.waiting import until
from system import wire

CONFIGURATION = {"experiment": "a-pause"}
STREAM = wire.PROJECTS_STREAM.name

pytestmark = pytest.mark.running


@pytest.fixture
def handed_in(system: System) -> Iterator[System]:
    running.hand_in(system)
    yield system
    heal(system, "a-pause")
    assert until(lambda: not system.missing() or None, 90), system.missing()


def test_a_paused_stream_leader_is_proven_by_its_client_and_goes_on_when_healed(handed_in: System) -> None:
    part = pause.pause_stream_leader(STREAM, CONFIGURATION)["part"]
    started = handed_in.started_at(part)
    assert handed_in.state(part) == "paused"
    assert [fault.undo.in_words() for fault in open_faults(handed_in.site.path)] == [f"a-pause: resume {part}"]
    assert pause.part_answers_nothing(10, CONFIGURATION)
    assert heal(handed_in, "a-pause") == [f"a-pause: resume {part}"]
    assert handed_in.state(part) == "running"
    assert handed_in.started_at(part) == started, "it is the same process"
    assert until(lambda: handed_in.parts[part].waiting_for() is None or None, 60)


def test_a_pause_that_did_not_bite_is_not_proven(handed_in: System) -> None:
    part = pause.pause_stream_leader(STREAM, CONFIGURATION)["part"]
    handed_in.resume(part)
    assert until(lambda: handed_in.parts[part].waiting_for() is None or None, 60)
    with pytest.raises(ActivityFailed, match="it works, or it has ended"):
        pause.part_answers_nothing(1, CONFIGURATION)
