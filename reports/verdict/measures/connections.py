"""How many connections the bus still held at the end of a load with messages.

If the machine allows fewer than the gate asks for, holding all of these proves nothing about more: the row is
INCONCLUSIVE, with the count and the limit. Losing some of them is a miss all the same.
"""

from __future__ import annotations

from collections import Counter

from reports.evidence import Connections, merge, percentile_ms
from reports.findings.findings import Findings
from reports.model import Bound
from reports.policy.claims import RowClaim
from reports.verdict.measures.parts import Measurement, Part, nothing

_REASONS_MAX = 3


def connections(findings: Findings, claim: RowClaim, gate: Bound) -> Measurement:
    """Connections that answered at the end, of the scenario that held the fewest."""
    found = findings.evidence.connections
    if not found:
        return nothing("no load held connections")
    scenarios = list(dict.fromkeys(record.scenario for record in found))
    parts = [_part([record for record in found if record.scenario == name], gate) for name in scenarios]
    held = min(sum(record.held for record in found if record.scenario == name) for name in scenarios)
    return Measurement(
        value=float(held),
        samples=held,
        says="; ".join(part.says for part in parts),
        parts=parts,
        evidence=[f"evidence/load/connections/{record.scenario}.{record.name}.json" for record in found],
    )


def _part(records: list[Connections], gate: Bound) -> Part:
    """One scenario's connections, over all processes that held them."""
    held, wanted = sum(record.held for record in records), sum(record.wanted for record in records)
    says = _says(records, held, wanted)
    limited_by = next((record.limited_by for record in records if record.limited_by), None)
    only_limited = held == wanted and limited_by is not None and not gate.met_by(held)
    return Part(
        name=records[0].scenario,
        # Holding every connection that the machine allows is no miss.
        value=None if only_limited else float(held),
        samples=held,
        says=says,
        missing=f"{says}; no more is possible here: {limited_by}" if only_limited else None,
        invalid=_distrust(records, held),
        timed=True,
        window=(min(record.begin_ns for record in records), max(record.end_ns for record in records)),
    )


def _distrust(records: list[Connections], held: int) -> str | None:
    own = [f"{record.name}: {record.own_problem}" for record in records if record.own_problem]
    if own:
        return "; ".join(own)
    counted = [record.counted for record in records if record.counted is not None]
    if not counted:
        return "the servers did not tell how many they count"
    if counted[0] < held:
        return f"{held:,} connections answered, and the servers counted only {counted[0]:,}"
    return None


def _says(records: list[Connections], held: int, wanted: int) -> str:
    says = f"{held:,} of {wanted:,} connections held to the end, each answered a PING"
    counted = next((record.counted for record in records if record.counted is not None), None)
    if counted is not None:
        says += f"; the servers counted {counted:,} in all"
    memory = next((record.memory_bytes for record in records if record.memory_bytes), None)
    if memory is not None and held:
        says += f", and grew by {(memory[1] - memory[0]) / 2**20:,.0f} MiB"
    taking = merge(record.taking for record in records)
    if taking.samples:
        says += f"; opened {sum(record.per_s for record in records):,.0f} a second, taken within"
        says += f" {percentile_ms(taking, 50):,.1f} ms (median), {percentile_ms(taking, 99):,.1f} ms (p99)"
    retried, lost = sum(record.retried for record in records), sum(record.lost for record in records)
    if retried or lost:
        reasons: Counter[str] = Counter()
        for record in records:
            reasons.update(record.reasons)
        most = ", ".join(f"{count:,} x {why}" for why, count in reasons.most_common(_REASONS_MAX))
        says += f"; {retried:,} attempts made again, {lost:,} lost: {most}"
    return says
