"""The noise of a calibration, from its slices."""

from __future__ import annotations

import math

import pytest

from reports.evidence import spread


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        ([], math.inf),
        ([100, 100, 100], math.inf),
        ([0, 0, 0, 0], math.inf),
        ([100, 100, 100, 100], 0.0),
        # A deviation of 2.309, halved by four slices, and twice that.
        ([98, 102, 98, 102], 0.0231),
        # A bad moment in one of four slices; with 21 more it is little.
        ([50, 100, 100, 100], 0.2857),
        ([50, *[100] * 24], 0.0408),
    ],
)
def test_more_slices_narrow_it_and_a_bad_moment_widens_it(slices: list[float], expected: float) -> None:
    assert spread(slices) == pytest.approx(expected, abs=1e-4)
