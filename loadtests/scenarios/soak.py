"""The mixed load for hours, at a rate that a quiet machine does not feel: does anything grow, or slow down?"""

from __future__ import annotations

import dataclasses

from loadtests.scenarios import mixed_nightly

SCENARIO = dataclasses.replace(
    mixed_nightly.SCENARIO,
    name="soak",
    help=f"the same for hours (--duration), leaks and drift judged: {mixed_nightly.SHARES}",
    rate=30.0,
    duration_s=4 * 3600.0,
    warmup_s=60.0,
)
