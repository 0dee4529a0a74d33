"""What a link does to packets, with the test's own clock."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.wan.links import Direction, Shape


def test_nothing_is_changed_by_default() -> None:
    direction = Direction(Shape())
    assert direction.immediate
    assert direction.arrival(5.0, 100) == 5.0


def test_delay_is_one_way() -> None:
    assert Direction(Shape(delay_ms=34)).arrival(5.0, 100) == pytest.approx(5.034)


def test_bandwidth_makes_packets_wait_for_each_other() -> None:
    direction = Direction(Shape(bandwidth_mb_s=1))
    assert direction.arrival(0.0, 100_000) == pytest.approx(0.1)
    assert direction.arrival(0.0, 100_000) == pytest.approx(0.2)
    assert direction.arrival(5.0, 100_000) == pytest.approx(5.1)


def test_what_would_wait_too_long_is_dropped_and_counted() -> None:
    direction = Direction(Shape(bandwidth_mb_s=1))
    assert direction.arrival(0.0, 600_000) is None
    assert direction.counters.overflowed == 1


def test_a_cut_takes_what_comes_and_what_is_under_way() -> None:
    direction = Direction(Shape(delay_ms=10))
    assert direction.arrival(0.0, 100) is not None
    direction.set(Shape(delay_ms=10, cut=True))
    assert direction.arrival(0.0, 100) is None
    assert not direction.delivers(100)
    assert (direction.counters.bytes, direction.counters.cut) == (0, 2)


def test_everything_can_be_lost() -> None:
    direction = Direction(Shape(loss=1.0))
    assert direction.arrival(0.0, 100) is None
    assert direction.counters.lost == 1


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 65_000)), min_size=1),
    st.floats(0, 300), st.floats(0, 50), st.none() | st.floats(0.1, 1000),
)  # fmt: skip
def test_packets_keep_their_order_and_none_is_early(
    gaps: list[tuple[float, int]], delay_ms: float, jitter_ms: float, bandwidth_mb_s: float | None
) -> None:
    direction = Direction(Shape(delay_ms=delay_ms, jitter_ms=jitter_ms, bandwidth_mb_s=bandwidth_mb_s))
    now = latest = 0.0
    for gap, size in gaps:
        now += gap
        at = direction.arrival(now, size)
        if at is not None:
            assert at >= max(latest, now + delay_ms / 1e3 - 1e-9)
            latest = at


@pytest.mark.parametrize("wrong", [{"delay_ms": -1}, {"loss": 1.5}, {"bandwidth_mb_s": 0.0}, {"colour": "red"}])
def test_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        msgspec.convert(wrong, Shape)
