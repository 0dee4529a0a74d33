"""What `nightly` does, by profile."""

from __future__ import annotations

from typing import NamedTuple


class PlannedLoad(NamedTuple):
    """A load of a profile."""

    scenario: str
    rate: float
    """Offered per second, in the scenario's unit."""
    duration_s: float
    """Measured, after the warm-up."""


class Profile(NamedTuple):
    """What a run of a profile does, in order: loads, then experiments."""

    loads: tuple[PlannedLoad, ...]
    experiments: tuple[str, ...]


PROFILES = {
    "smoke": Profile(
        # 600 requests/s for 56 s are the 30,000 that 99.99% needs, with some to spare.
        loads=(PlannedLoad("api-browse", 600, 56), PlannedLoad("bus-ingest", 2000, 25)),
        experiments=("pg-primary-kill", "bus-leader-kill", "analytics-kill"),
    )
}
