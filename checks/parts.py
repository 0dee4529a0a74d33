"""The evidence for the row system.parts: every part runs at the end of a run, is ready, and every consumer has applied
what was written. What died unasked meanwhile is in the timeline.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from infra.fabric.protocol import Fabric
from ledger.drain import drain
from reports.evidence import Count, RunFolder

ROW = "system.parts"
CONSUMERS = "every consumer has applied and acknowledged what was written"
WHOLE = "the system is redundant"
_DRAINED_WITHIN_S = 30.0


def record(system: Fabric, folder: RunFolder, within_s: float = _DRAINED_WITHIN_S) -> None:
    """Look at every part, and wait for the consumers; leave a Count for each."""
    late = drain(system.target(), within_s)
    running = {name: system.alive(name) for name in system.parts if system.expected(name)}
    with folder.facts() as facts:
        facts.add(*counts(running, system.waiting(), system.missing(), late))


def expected(system: Fabric) -> dict[str, int]:
    """How many facts that leaves."""
    return {ROW: sum(map(system.expected, system.parts)) + 2}


def counts(
    running: Mapping[str, bool], waiting: Mapping[str, str], missing: Collection[str], late: str | None
) -> list[Count]:
    """A fact for each part: that it runs, and waits for nothing (`waiting`: part -> for what); one for what the whole
    system lacks, and one for the consumers (`late`: what was still to be applied)."""
    found = []
    for name, runs in running.items():
        wrong = "does not run" if not runs else f"is not ready: {waiting[name]}" if name in waiting else None
        found.append(_count(f"{name} {wrong or 'runs and is ready'}", wrong is None))
    found.append(_count(WHOLE + (f", but lacks {'; '.join(missing)}" if missing else ""), not missing))
    found.append(_count(CONSUMERS + (f", but waited in vain for {late}" if late else ""), late is None))
    return found


def _count(how: str, ok: bool) -> Count:
    return Count(row=ROW, value=float(not ok), unit="wrong", how=how, ok=ok)
