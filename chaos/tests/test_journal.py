"""The undo journal under every interruption: cut at any byte, what is open is still what must be undone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos import journal
from chaos.handover import Facts, Fault, Proved
from chaos.healing import open_faults
from chaos.journal import Entry, Journal, JournalError, encode_done, encode_undo, open_undos
from reports.evidence import Proof


def undo(number: int) -> Entry:
    return Entry(
        id=f"u{number}", experiment="pg-primary-kill", action="restart", arguments={"part": f"p{number}"}, at=1.5
    )


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, int]]:
    """Faults that begin in order; some of them are undone later, in any order, some twice."""
    steps: list[tuple[str, int]] = []
    begun = 0
    for word in draw(st.lists(st.sampled_from(["begin", "done"]), max_size=12)):
        if word == "begin" or not begun:
            steps.append(("begin", begun))
            begun += 1
        else:
            steps.append(("done", draw(st.integers(0, begun - 1))))
    return steps


def lines(steps: Sequence[tuple[str, int]]) -> list[bytes]:
    return [encode_undo(undo(number)) if word == "begin" else encode_done(f"u{number}") for word, number in steps]


def model(steps: Sequence[tuple[str, int]]) -> list[str]:
    done = {number for word, number in steps if word == "done"}
    return [f"u{number}" for word, number in reversed(steps) if word == "begin" and number not in done]


@given(histories(), st.data())
def test_a_journal_cut_at_any_byte_holds_open_what_its_whole_lines_say(
    steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    content = b"".join(lines(steps))
    cut = data.draw(st.integers(0, len(content)))
    whole = content[:cut].count(b"\n")
    # A line whose last byte alone is missing says all that it has to say.
    ends = [len(b"".join(lines(steps)[:count])) - 1 for count in range(1, len(steps) + 1)]
    if cut in ends:
        whole += 1
    assert [one.id for one in open_undos(content[:cut])] == model(steps[:whole])


@given(histories(), st.data())
def test_a_torn_line_does_not_swallow_what_is_written_after_it(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    home = tmp_path_factory.mktemp("home")
    content = b"".join(lines(steps))
    cut = data.draw(st.integers(0, len(content)))
    (home / "undo.jsonl").write_bytes(content[:cut])
    before = [one.id for one in Journal(home).open()]
    new = Journal(home).begin("bus-leader-kill", "restart", {"part": "nats-iad-a"})
    assert [one.id for one in Journal(home).open()] == [new.id, *before]
    Journal(home).done(new)
    assert [one.id for one in Journal(home).open()] == before


def test_the_latest_fault_is_undone_first() -> None:
    content = encode_undo(undo(1)) + encode_undo(undo(2)) + encode_undo(undo(3)) + encode_done("u2")
    assert [one.id for one in open_undos(content)] == ["u3", "u1"]


def test_without_a_journal_nothing_is_open(tmp_path: Path) -> None:
    assert Journal(tmp_path).open() == []


def test_a_journal_that_cannot_be_written_forbids_the_fault(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="nothing was injected"):
        Journal(tmp_path / "missing").begin("pg-primary-kill", "restart", {"part": "postgres-iad-a"})


def test_a_journal_beyond_its_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_MAX_BYTES", 10)
    Journal(tmp_path).begin("pg-primary-kill", "restart", {"part": "postgres-iad-a"})
    with pytest.raises(JournalError, match="expected at most 10 bytes"):
        Journal(tmp_path).open()


def test_an_open_fault_says_whether_it_was_proven(tmp_path: Path) -> None:
    Journal(tmp_path).begin("bus-leader-kill", "restart", {"part": "nats-iad-a"})
    facts = Facts(tmp_path)
    facts.add(Fault(experiment="bus-leader-kill", at_ns=10, part="nats-iad-a", target="nats-iad-a"))
    (fault,) = open_faults(tmp_path)
    assert not fault.proven
    proof = Proof(at_ns=20, what="its port", expected="refused", found="refused", proven=True)
    facts.add(Proved(experiment="bus-leader-kill", at_ns=20, proof=proof))
    (fault,) = open_faults(tmp_path)
    assert fault.proven
    told = fault.describe()
    assert told["experiment"] == "bus-leader-kill"
    assert told["injector"] == "bus-leader-kill: restart nats-iad-a"
    assert told["proven"] is True


def test_one_proof_that_does_not_hold_leaves_a_fault_unproven(tmp_path: Path) -> None:
    facts = Facts(tmp_path)
    facts.add(Fault(experiment="x", at_ns=10, part="p", target="p"))
    for proven in (True, False):
        proof = Proof(at_ns=20, what="w", expected="e", found="f", proven=proven)
        facts.add(Proved(experiment="x", at_ns=20, proof=proof))
    assert not facts.proven("x")


def test_proofs_of_an_earlier_fault_do_not_count_for_a_later_one(tmp_path: Path) -> None:
    facts = Facts(tmp_path)
    facts.add(Fault(experiment="x", at_ns=10, part="p", target="p"))
    facts.add(Proved(experiment="x", at_ns=20, proof=Proof(at_ns=20, what="w", expected="e", found="e", proven=True)))
    facts.add(Fault(experiment="x", at_ns=30, part="p", target="p"))
    assert not facts.proven("x")
