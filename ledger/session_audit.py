"""After a load: what the history of its clients shows, as evidence for the row api.consistency."""

from __future__ import annotations

from operator import attrgetter

import msgspec

from ledger import sessions
from ledger.sessions import Anomaly, Initial, Page, Read, Write
from reports.evidence import Consistency, RunFolder
from reports.evidence.folder import EvidenceError, read_lines

STALE_WITHIN_S = 2.0
"""How old what a region's API shows of others' writes may be, where the client asked for nothing newer: what a page
may show for that long without its reader noticing, and twenty times what replication usually takes."""
SOURCE = "api"
_EXAMPLES = 10
_Line = Initial | Write | Read | Page


def judge_sessions(folder: RunFolder, scenario: str) -> str | None:
    """Judge the history that a load's clients left, if they did, and write a Consistency; None, or in words why the
    history could not be read."""
    path = folder.session_path(scenario)
    if not path.exists():
        return None
    found = _judged(folder, scenario)
    folder.write_consistency(found)
    return found.problem


def _judged(folder: RunFolder, scenario: str) -> Consistency:
    try:
        lines: list[_Line] = list(read_lines(folder.session_path(scenario), _Line))  # type: ignore[arg-type]
        initial = [line for line in lines if isinstance(line, Initial)]
        history = sorted((line for line in lines if not isinstance(line, Initial)), key=attrgetter("completed_ns"))
        # Others write, too: what is in no ledger of these clients is held only against what they saw of it.
        bounds = {SOURCE: round(STALE_WITHIN_S * 1e9)}
        found = sessions.check(history, bounds, initial, complete=False, examples=_EXAMPLES)
    except (EvidenceError, OSError, ValueError, msgspec.MsgspecError) as error:
        return Consistency(
            scenario=scenario, reads=0, own_reads={}, walks=0, contents=0, anomalies={}, problem=str(error)
        )  # fmt: skip
    return Consistency(
        scenario=scenario,
        reads=sum(found.reads.values()) + found.pages,
        own_reads=found.own_reads,
        walks=found.walks,
        contents=found.contents,
        anomalies=found.totals,
        legal=found.legal,
        examples=[in_words(anomaly) for anomaly in found.anomalies],
        stale_within_s=STALE_WITHIN_S,
    )


def in_words(anomaly: Anomaly) -> str:
    """`lost update: project 5f0c... version 3, session syd: expected ..., found ...`."""
    version = "" if anomaly.version is None else f" version {anomaly.version}"
    return (
        f"{anomaly.kind}: project {anomaly.id}{version}, session {anomaly.session}: expected {anomaly.expected},"
        f" found {anomaly.found}"
    )
