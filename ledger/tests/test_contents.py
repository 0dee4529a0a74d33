"""What writes are called and what they say: in the client's ledger, in events, and in the last state of a project."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ledger.contents import Lives, in_events, in_states, says, step_of
from reports.evidence import Outcome, Write
from reports.evidence.write_names import DELETED
from system.wire import NewProject, Project

KEY = b"key"


def project(version: int = 1, incarnation: int = 7, **fields: object) -> Project:
    known = {
        "id": "p", "name": "Load", "region": "iad", "country_code": "USA", "sector": "Energy", "status": "Pending",
        "funding_usd_millions": Decimal("0.01"), "version": version, "incarnation": incarnation, **fields,
    }  # fmt: skip
    return Project(**known)  # type: ignore[arg-type]


def write(name: str, said: str = "", outcome: Outcome | None = "ok") -> Write:
    return Write(name, 1, outcome, "iad", said)


FIRST, SECOND = project(), project(2, funding_usd_millions=Decimal("5.00"))
LIVES = Lives([("p", 7), ("p", 8)])


def test_what_is_sent_and_what_is_stored_say_the_same() -> None:
    values = {name: getattr(FIRST, name) for name in NewProject.__struct_fields__}
    assert says(NewProject(**values), KEY) == says(FIRST, KEY) == says(project(9, 99), KEY)
    assert says(msgspec.structs.replace(FIRST, funding_usd_millions=Decimal("0.010")), KEY) == says(FIRST, KEY)


@given(st.sampled_from(["id", "name", "region", "country_code", "sector", "status"]), st.text(max_size=5))
def test_every_field_is_part_of_what_is_said(field: str, text: str) -> None:
    other = msgspec.structs.replace(FIRST, **{field: text})
    assert (says(other, KEY) == says(FIRST, KEY)) == (text == getattr(FIRST, field))


def test_a_digest_is_another_with_another_key_and_amount() -> None:
    assert len({says(FIRST, KEY), says(FIRST, b"other"), says(SECOND, KEY)}) == 3


def test_events_are_named_after_the_state_they_lead_to() -> None:
    steps = [
        step_of(None, FIRST, KEY), step_of(FIRST, SECOND, KEY), step_of(SECOND, None, KEY),
        step_of(None, project(incarnation=8), KEY),
    ]  # fmt: skip
    there = in_events(steps, LIVES)
    assert there.found == {"p": 1, "p:2": 1, "p:3": 1, "p/2": 1}
    assert there.contents == {"p": says(FIRST, KEY), "p:2": says(SECOND, KEY), "p:3": DELETED, "p/2": says(FIRST, KEY)}


def test_an_event_that_is_there_twice_counts_two_and_the_odd_one_is_said() -> None:
    there = in_events([step_of(None, FIRST, KEY), step_of(None, project(name="Other"), KEY)], LIVES)
    assert there.found == {"p": 2}
    assert there.contents == {"p": says(project(name="Other"), KEY)}


def states(rows: Sequence[Project], *history: Write, lives: Lives = LIVES) -> tuple[dict[str, int], dict[str, str]]:
    there = in_states(rows, history, lives, KEY)
    return there.found, there.contents


ONE_LIFE = Lives([("p", 7)])


def test_a_row_shows_every_write_up_to_its_version_and_says_the_last() -> None:
    history = [write("p", "x"), write("p:2", "y"), write("p:3", "z", "unknown")]
    assert states([SECOND], *history, lives=ONE_LIFE) == ({"p": 1, "p:2": 1}, {"p:2": says(SECOND, KEY)})


def test_a_row_ahead_of_the_ledger_shows_a_write_that_nobody_made() -> None:
    found, _ = states([SECOND], write("p", "x"), lives=ONE_LIFE)
    assert found == {"p": 1, "p:2": 1}


def test_a_row_behind_the_ledger_lacks_the_later_write() -> None:
    found, said = states([FIRST], write("p", "x"), write("p:2", "y"), lives=ONE_LIFE)
    assert (found, said) == ({"p": 1}, {"p": says(FIRST, KEY)})


def test_a_project_that_is_gone_shows_its_deletion_if_there_was_one() -> None:
    history = [write("p", "x"), write("p:2", DELETED)]
    assert states([], *history, lives=ONE_LIFE) == ({"p": 1, "p:2": 1}, {"p:2": DELETED})
    assert states([], write("p", "x"), lives=ONE_LIFE) == ({}, {})


def test_a_project_that_was_deleted_and_is_there_lacks_its_deletion() -> None:
    found, said = states([FIRST], write("p", "x"), write("p:2", DELETED), lives=ONE_LIFE)
    assert (found, said) == ({"p": 1}, {"p": says(FIRST, KEY)})


def test_a_second_life_shows_that_the_first_one_passed() -> None:
    history = [write("p", "x"), write("p:2", DELETED), write("p/2", "x")]
    found, said = states([project(incarnation=8)], *history)
    assert found == {"p": 1, "p:2": 1, "p/2": 1}
    assert said == {"p/2": says(FIRST, KEY)}


def test_a_row_of_an_incarnation_that_was_never_created_is_no_write_of_the_ledger() -> None:
    found, said = states([project(incarnation=9)], write("p", "x"))
    assert set(found) == set(said) == {"p@9:1"}


def test_a_project_whose_creation_the_outbox_lacks_is_known_by_its_row() -> None:
    found, _ = states([FIRST], write("p", "x"), lives=Lives(()))
    assert found == {"p": 1}
