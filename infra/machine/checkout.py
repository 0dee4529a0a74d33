"""Where this checkout is: the one place that derives paths from the position of a module."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
STATE = CHECKOUT / ".covenant"
"""The homes of this checkout's systems, and files that its commands keep between calls; ignored by git."""
RUNS = CHECKOUT / "reports" / "runs"
"""One folder a run; ignored by git."""
