"""The rows that take facts (`Count`): a fact for any other row would be counted for nothing.

A row that is measured by facts has to be named here; its measure reads them.
"""

from __future__ import annotations

from reports.evidence.files import Appender
from reports.evidence.records import Count

FACT_ROWS = frozenset(
    {
        "bus.exactly_once", "bus.gateways", "bus.limits", "bus.replication", "data.countries", "data.points",
        "data.projects", "ledger.contents", "recovery.rpo_loss", "security.access", "security.audit", "security.rest",
        "security.secrets", "security.transit", "system.parts",
    }
)  # fmt: skip
"""A fact that does not hold makes its row a FAIL."""


class NoFactRow(ValueError):
    """A fact for a row that is not known, or that takes none."""


def check_row(row: str) -> None:
    """NoFactRow if the row takes no facts."""
    if row not in FACT_ROWS:
        raise NoFactRow(f"expected a row that takes facts ({', '.join(sorted(FACT_ROWS))}), found {row!r}")


class FactAppender(Appender[Count]):
    """A list of facts that refuses what would be counted for nothing."""

    def add(self, *records: Count) -> None:
        """Append the facts. NoFactRow, and then none of them is there; OSError on a full disk."""
        for count in records:
            check_row(count.row)
        super().add(*records)
