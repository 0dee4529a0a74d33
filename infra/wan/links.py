"""What happens to a packet between two regions, and when it arrives. Pure: the caller passes the time."""

from __future__ import annotations

import random

import msgspec

_BUFFER_S = 0.5
"""A packet that would wait longer than this for a link's bandwidth is dropped, as by a full queue of a router."""


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one direction of a link treats packets. ValueError for a value that is out of range."""

    delay_ms: float = 0.0
    """The delay of this direction alone."""
    jitter_ms: float = 0.0
    """Further delay of up to this much, evenly distributed; packets keep their order."""
    bandwidth_mb_s: float | None = None
    """10^6 bytes a second; None: no limit."""
    loss: float = 0.0
    """The share of packets that is lost, 0 to 1."""
    cut: bool = False

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("delay_ms", self.delay_ms, 0, 10_000),
            ("jitter_ms", self.jitter_ms, 0, 10_000),
            ("bandwidth_mb_s", 1.0 if self.bandwidth_mb_s is None else self.bandwidth_mb_s, 0.001, 100_000),
            ("loss", self.loss, 0, 1),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name}: expected {low:g} to {high:g}, found {value:g}")


def planned(round_trip_ms: float) -> Shape:
    """The shape of an undisturbed direction: it takes half of the link's round trip."""
    return Shape(delay_ms=round_trip_ms / 2)


class Counters(msgspec.Struct, kw_only=True):
    """What one direction has carried and dropped since the start. With offload, a packet may hold many segments, so
    bytes say more than packets."""

    packets: int = 0
    bytes: int = 0
    """Packets and bytes that were delivered."""
    cut: int = 0
    """Packets that were dropped since the link was cut."""
    lost: int = 0
    """Packets that were dropped by `Shape.loss`."""
    overflowed: int = 0
    """Packets that were dropped since a queue was full."""


class Direction:
    """One direction of a link: decides when a packet is delivered."""

    __slots__ = ("_busy_until", "_delay_s", "_last", "counters", "immediate", "shape")

    def __init__(self, shape: Shape) -> None:
        self.counters = Counters()
        self._busy_until = self._last = 0.0
        self.set(shape)

    def set(self, shape: Shape) -> None:
        """Change the shape; packets under way keep their arrival."""
        self.shape = shape
        self._delay_s = shape.delay_ms / 1e3
        self.immediate = shape == _NOTHING
        """Whether packets are delivered at once, so that `arrival` need not be called."""

    def arrival(self, now: float, size: int) -> float | None:
        """When a packet of `size` bytes that is sent `now` (seconds) arrives; None if it never does."""
        shape = self.shape
        if shape.cut:
            self.counters.cut += 1
            return None
        if shape.loss and random.random() < shape.loss:
            self.counters.lost += 1
            return None
        at = now
        if shape.bandwidth_mb_s is not None:
            through = max(now, self._busy_until) + size / (shape.bandwidth_mb_s * 1e6)
            if through - now > _BUFFER_S:
                self.counters.overflowed += 1
                return None
            self._busy_until = at = through
        at += self._delay_s
        if shape.jitter_ms:
            at += random.random() * shape.jitter_ms / 1e3
        # No packet overtakes one that was sent before it, which TCP would take for loss.
        self._last = at = max(at, self._last)
        return at

    def delivers(self, size: int) -> bool:
        """Count a packet that is about to arrive; False if the link was cut while it was under way."""
        counters = self.counters
        if self.shape.cut:
            counters.cut += 1
            return False
        counters.packets += 1
        counters.bytes += size
        return True


_NOTHING = Shape()
