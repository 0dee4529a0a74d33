"""What did not run, in words, and which planted bugs were caught. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from reports.evidence import LeftOut, PlantedBug, Run, Seen
from reports.model import NotTonight
from reports.policy.policy import matches

FRESH = timedelta(days=3)
"""A verdict that is older counts as not seen: in so many nights everything has its turn."""
_COMMIT_CHARS = 12


def not_tonight(left: LeftOut, run: Run) -> NotTonight:
    """What a report says of something that did not run."""
    unseen = _unseen(left.last, run)
    last = left.last
    if last is None:
        says = "no run is known that saw it"
    else:
        says = f"last seen in {last.run_id} of {last.at[:10]} at commit {last.commit[:_COMMIT_CHARS] or 'unknown'}: "
        says += last.verdict
    says += f"; not seen for this release{f', {unseen}' if last else ''}" if unseen else ""
    return NotTonight(kind=left.kind, name=left.name, why=left.why, says=says, seen=unseen is None)


def _unseen(last: Seen | None, run: Run) -> str | None:
    """Why what was seen last says nothing of this release; None if it does."""
    if last is None:
        return "never"
    if last.verdict != "PASS":
        return "it did not pass"
    if not last.commit or last.commit != run.fingerprint.commit:
        return "another commit"
    if datetime.fromisoformat(run.started_at) - datetime.fromisoformat(last.at) > FRESH:
        return f"more than {FRESH.days} nights ago"
    return None


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one planted bug. `unproven`: the run cannot say whether the alarm works. `harmless`: no row has to
    go red, only false alarms can be seen."""

    name: str
    outcome: Literal["caught", "missed", "unproven", "harmless"]
    says: str
    false_alarms: list[str]
    """Rows that went red and may not."""

    def in_words(self) -> str:
        """Its outcome and its false alarms, in one line."""
        false = f"; false alarm: {', '.join(self.false_alarms)}" if self.false_alarms else ""
        return f"{self.outcome}: {self.says}{false}"


def alarms(bugs: Iterable[PlantedBug]) -> list[Alarm]:
    """What became of each planted bug that had its turn."""
    return [_alarm(bug) for bug in bugs]


def _alarm(bug: PlantedBug) -> Alarm:
    red = [row for row, verdict in bug.rows.items() if verdict == "FAIL"]
    false = [row for row in red if not matches(row, [*bug.red, *bug.may])]
    if bug.problem is not None:
        return Alarm(name=bug.name, outcome="unproven", says=f"{bug.name}: {bug.problem}", false_alarms=false)
    if not bug.red:
        return Alarm(name=bug.name, outcome="harmless", says=f"{bug.name}: nothing has to go red", false_alarms=false)
    due = {pattern: [row for row in bug.rows if matches(row, [pattern])] for pattern in bug.red}
    green = [row for rows in due.values() for row in rows if bug.rows[row] == "PASS"]
    if green:
        says = f"{bug.name}: {', '.join(green)} stayed green"
        return Alarm(name=bug.name, outcome="missed", says=says, false_alarms=false)
    unjudged = [pattern for pattern, rows in due.items() if not rows]
    unsure = [row for rows in due.values() for row in rows if bug.rows[row] != "FAIL"]
    if unjudged or unsure:
        reasons = [f"{pattern} was not judged" for pattern in unjudged]
        reasons += [f"{row} was {bug.rows[row]} ({bug.whys.get(row, 'no reason kept')})" for row in unsure]
        says = f"{bug.name}: {'; '.join(reasons)}"
        return Alarm(name=bug.name, outcome="unproven", says=says, false_alarms=false)
    says = f"{bug.name}: {', '.join(row for rows in due.values() for row in rows)} went red"
    return Alarm(name=bug.name, outcome="caught", says=says, false_alarms=false)
