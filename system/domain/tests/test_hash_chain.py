"""The hash chain: its entries, and that every change to it is found."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.domain import hash_chain
from system.domain.hash_chain import START, Broken, Entry, Tip
from system.wire import Project, ProjectEvent

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def event(position: int, name: str = "P", funding: str = "1.50") -> ProjectEvent:
    project = Project(
        id=f"00000000-0000-4000-8000-{position:012}", name=name, region="syd", country_code="AUS", sector="Health",
        status="Pending", funding_usd_millions=Decimal(funding), version=1,
    )  # fmt: skip
    return ProjectEvent(
        id=project.id, type="created", aggregate="projects", aggregate_id=project.id, partition="projects.0",
        position=position, region="syd", occurred_at="2026-01-01T00:00:00Z", before=None, after=project,
    )  # fmt: skip


@st.composite
def chains(draw: st.DrawFn) -> list[Entry]:
    names = draw(st.lists(TEXT, min_size=1, max_size=12))
    return hash_chain.extend(START, [event(position, name) for position, name in enumerate(names, 1)])


def test_an_entry_is_canonical_json_and_its_hash_covers_the_one_before() -> None:
    first, second = hash_chain.extend(START, [event(1), event(2)])
    assert first.entry.startswith('{"after":{"country_code":"AUS","funding_usd_millions":1.50,"id":')
    assert list(json.loads(first.entry)) == sorted(json.loads(first.entry))
    assert first.previous_hash == "0" * 64
    assert first.hash == hashlib.sha256(("0" * 64 + "\n" + first.entry).encode()).hexdigest()
    assert second.previous_hash == first.hash
    assert (first.seq, second.seq) == (1, 2)


@given(chains(), st.data())
def test_a_chain_made_in_pieces_is_the_chain_and_holds(entries: list[Entry], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(entries)))
    tip = hash_chain.follow(START, entries[:cut])
    assert hash_chain.follow(tip, entries[cut:]) == Tip(entries[-1].seq, entries[-1].hash)


@given(chains(), st.data())
def test_any_change_of_any_field_is_found_where_it_is(entries: list[Entry], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(entries) - 1))
    field = data.draw(st.sampled_from(Entry._fields))
    old = getattr(entries[at], field)
    new = old + 1 if isinstance(old, int) else data.draw(TEXT.filter(lambda text: text != old))
    fields = zip(Entry._fields, entries[at], strict=True)
    spoilt = Entry._make(new if name == field else value for name, value in fields)
    changed = [*entries[:at], spoilt, *entries[at + 1 :]]
    with pytest.raises(Broken) as broken:
        hash_chain.follow(START, changed)
    assert broken.value.seq == at + 1


@given(chains(), st.data())
def test_a_removed_entry_is_found_unless_it_was_the_last(entries: list[Entry], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(entries) - 1))
    without = entries[:at] + entries[at + 1 :]
    if at == len(entries) - 1:
        assert hash_chain.follow(START, without).seq == at
    else:
        with pytest.raises(Broken) as broken:
            hash_chain.follow(START, without)
        assert broken.value.seq == at + 1


def test_an_entry_forged_with_the_right_hash_breaks_at_the_next_one() -> None:
    entries = hash_chain.extend(START, [event(position) for position in (1, 2, 3)])
    [forged] = hash_chain.extend(hash_chain.follow(START, entries[:1]), [event(2, funding="9.99")])
    with pytest.raises(Broken, match="entry 3: it follows on hash"):
        hash_chain.follow(START, [entries[0], forged, entries[2]])
