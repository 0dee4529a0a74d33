"""Whether an old primary took writes beside the new one: which tries count."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chaos.faults.process.old_primary import Tally, watch


def seen(
    leads: Iterator[str | None], refusals: Iterator[str | None], within_s: float = 10, for_s: float = 3
) -> Tally | None:
    """The tally on a clock that only a turn's pause moves, by a second each."""
    now = [0.0]

    def pause(_: float) -> None:
        now[0] += 1

    def following(answers: Iterator[str | None]) -> Callable[[], str | None]:
        return lambda: next(answers)

    return watch(following(leads), following(refusals), within_s, for_s, clock=lambda: now[0], sleep=pause)


def test_writes_before_another_leads_are_the_leases_own() -> None:
    tally = seen(iter([None, None, "b on timeline 2"]), iter([None, None, "refused", "refused", "read only"]))
    assert tally is not None
    assert (tally.leads, tally.accepted, tally.tries) == ("b on timeline 2", 0, 3)
    assert tally.refusals == {"refused": 2, "read only": 1}


def test_a_write_while_another_leads_is_counted() -> None:
    tally = seen(iter([None, "b on timeline 2"]), iter(["refused", None, None, "refused"]))
    assert tally is not None
    assert (tally.accepted, tally.tries) == (2, 3)


def test_nothing_is_said_when_nobody_else_leads() -> None:
    assert seen(iter([None] * 10), iter([None] * 10)) is None
