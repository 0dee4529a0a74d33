"""What the preflight adds to a verdict: the floor of a row, and its gate where the claim is impossible.

A floor that comes from distance does not apply to a run whose regions were not apart. The floor of the RTO is that of
the faults that were injected, not of all possible ones.
"""

from __future__ import annotations

from reports.evidence import Possibility
from reports.findings.loaded import Evidence
from reports.model import Bound
from reports.policy.claims import RowClaim
from reports.policy.policy import Policy

_RTO = "recovery.rto"
_APART = "namespaces"
_ACCURACY = 0.9
"""An emulated link keeps its round trip to within a tenth."""


def possibilities(evidence: Evidence) -> dict[str, Possibility]:
    """Row -> what the preflight said of its claim; empty without a preflight."""
    return {claim.row: claim for claim in evidence.preflight.claims} if evidence.preflight else {}


def floors(evidence: Evidence, claims: list[RowClaim]) -> dict[str, float]:
    """Row -> the least that can be measured, in the claim's unit; only rows where less is better and it is known."""
    found = {}
    said = possibilities(evidence)
    for claim in claims:
        known = said.get(claim.row)
        if claim.bound.op not in ("<", "<=") or known is None or known.unit != claim.bound.unit:
            continue
        best = _rto_floor(evidence) if claim.row == _RTO else known.best
        if best is not None and (not known.by_distance or evidence.run.distance == _APART):
            found[claim.row] = best
    return found


def below_floor(evidence: Evidence, row: str, floor: float | None, value: float | None) -> str | None:
    """Why a value proves nothing if it is below a floor of distance; None if it is not."""
    known = possibilities(evidence).get(row)
    if known is None or not known.by_distance or floor is None or value is None or value >= _ACCURACY * floor:
        return None
    return (
        f"{value:g} {known.unit} is below the floor of {floor:g} {known.unit} ({known.why}): the distance was not "
        "there, or something else was measured"
    )


def _rto_floor(evidence: Evidence) -> float | None:
    injected = {trial.record.id for trial in evidence.trials}
    faults = evidence.preflight.faults if evidence.preflight else []
    return max((fault.rto_min_s for fault in faults if injected & set(fault.experiments)), default=None)


def gate(policy: Policy, claim: RowClaim, floor: float | None) -> tuple[Bound, str | None]:
    """(gate, why): the policy's gate and None; or the floor plus the policy's allowance and the reason, if the floor
    itself misses the policy's gate."""
    own = policy.gate(claim)
    allowance = policy.allowances.get(claim.family)
    if floor is None or allowance is None or own.met_by(floor):
        return own, None
    lifted = Bound(op=own.op, value=floor + allowance.plus, unit=own.unit)
    why = (
        f"{own.op} {own.value:g} {own.unit} is impossible, the floor is {floor:g} {own.unit}; the gate adds "
        f"{allowance.plus:g} {own.unit}: {allowance.why}"
    )
    return lifted, why
