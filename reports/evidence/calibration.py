"""The record of a calibration: what the machine gives at most, measured right before or after a load."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, sqrt
from statistics import fmean, stdev
from typing import Literal

import msgspec

SLICES_MIN = 4
"""With fewer slices nothing is said of their noise."""


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """The highest rate that the bus took right before or after a load, from a cheap publisher that sends as fast as a
    bounded window of unacknowledged messages allows (`evidence/calibration/<scenario>.<when>.json`).

    Shares are of the measured window. The rate is the machine's ceiling only if every core was busy, mostly with the
    servers, if its slices agree, and if nothing exceeded it; the verdict decides that.
    """

    scenario: str
    when: Literal["before", "after"]
    row: str
    """The row whose ceiling it measures."""
    begin_ns: int
    end_ns: int
    acked: int
    """Messages that were stored and acknowledged in the window."""
    failed: int
    """Messages that were refused or not acknowledged, inside and outside the window."""
    busy: list[float]
    """The busy share of each core."""
    servers: float
    """The servers' share of the CPU that was used."""
    generator: float
    """The publisher's share of it."""
    settings: dict[str, str] = {}
    slices: list[int] = []
    """Messages acknowledged in each of the equal parts of the window; records of old have none."""

    @property
    def per_s(self) -> float:
        return self.acked / ((self.end_ns - self.begin_ns) / 1e9)

    @property
    def spread(self) -> float:
        """How far to each side of the rate the true one may lie, as a share of it."""
        return spread(self.slices)


def spread(slices: Sequence[float]) -> float:
    """Two standard errors of the mean of equal slices, as a share of the mean; infinite for fewer than SLICES_MIN.

    A bad moment in some of the slices widens it, more slices narrow it.
    """
    if len(slices) < SLICES_MIN or fmean(slices) <= 0:
        return inf
    return 2 * stdev(slices) / sqrt(len(slices)) / fmean(slices)
