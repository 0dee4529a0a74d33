"""What `nightly` does, by profile."""

from __future__ import annotations

from typing import NamedTuple

from loadtests.request import Request


class Profile(NamedTuple):
    """What a run of a profile does, in order: loads, then experiments."""

    loads: tuple[Request, ...]
    experiments: tuple[str, ...]


PROFILES = {
    "smoke": Profile(
        # 600 requests/s for 56 s are the 30,000 that 99.99% needs, with some to spare.
        loads=(
            Request(scenario="api-browse", rate=600, duration_s=56),
            Request(scenario="bus-ingest", rate=1000, duration_s=25),
        ),
        experiments=("pg-primary-kill", "bus-leader-kill", "analytics-kill"),
    )
}
