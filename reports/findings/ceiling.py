"""The machine's ceiling, found by calibration, and the gate that follows from it. Pure.

A calibrated rate is the machine's ceiling only if every core was busy, and mostly with the servers: a publisher that is
slow or waits for a disk shows its own limit instead. A small machine must not stop a release, and must not hide a slow
system: if its ceiling is below the claim, the gate asks for a share of the ceiling.
"""

from __future__ import annotations

import msgspec

from reports.evidence import Calibration
from reports.findings.loaded import Evidence
from reports.model import Bound, Ceiling
from reports.policy.claims import RowClaim
from reports.policy.policy import CalibrationLimits, Policy


class Calibrated(msgspec.Struct, frozen=True, kw_only=True):
    """What the calibrations of a row say. `value` is the ceiling; None if no calibration found one."""

    value: float | None
    says: str
    evidence: list[str]

    def ceiling(self, measured: float | None) -> Ceiling | None:
        """The ceiling, with the share of it that was `measured`; None if either is unknown."""
        if self.value is None or measured is None:
            return None
        return Ceiling(value=self.value, ratio=measured / self.value)


def _path(found: Calibration) -> str:
    return f"evidence/calibration/{found.scenario}.{found.when}.json"


def _why_not(found: Calibration, limits: CalibrationLimits) -> str | None:
    """Why a calibration is no ceiling; None if it is one."""
    least = min(found.busy, default=0.0)
    if found.acked < 1:
        return "nothing was acknowledged"
    if least < limits.busy_min:
        return f"a core was only {least:.0%} busy, it takes {limits.busy_min:.0%} of each"
    if found.servers <= limits.servers_share_min:
        return f"the servers had only {found.servers:.0%} of the CPU that was used"
    return None


def calibrated(found: list[Calibration], limits: CalibrationLimits) -> Calibrated:
    """What the calibrations of one row (at least one) say together."""
    sentences, rates = [], []
    for each in found:
        why_not = _why_not(each, limits)
        sentences.append(f"{each.per_s:,.0f}/s {each.when}" + (f" (no ceiling: {why_not})" if why_not else ""))
        if why_not is None:
            rates.append(each.per_s)
    says = f"calibrated: {', '.join(sentences)}"
    if rates and max(rates) > limits.apart_max * min(rates):
        says += f"; they are {max(rates) / min(rates):.2f} times apart: the machine changed meanwhile"
    value = sum(rates) / len(rates) if rates else None
    return Calibrated(value=value, says=says, evidence=[_path(each) for each in found])


def ceilings(evidence: Evidence, policy: Policy) -> dict[str, Calibrated]:
    """Row -> what its calibrations say, for every row that was calibrated."""
    rows = {
        each.row: [other for other in evidence.calibrations if other.row == each.row] for each in evidence.calibrations
    }
    return {row: calibrated(found, policy.calibration) for row, found in rows.items()}


def gate(policy: Policy, claim: RowClaim, own: Bound, found: Calibrated | None) -> tuple[Bound, str | None]:
    """(gate, why): `own` and None, or a share of the ceiling and the reason if the ceiling is below `own`."""
    share = policy.ceilings.get(claim.family)
    if share is None or found is None or found.value is None or own.met_by(found.value):
        return own, None
    lowered = Bound(op=own.op, value=share.share * found.value, unit=own.unit)
    why = (
        f"the machine's ceiling of {found.value:,.0f} {own.unit} is below {own.value:,.0f}; the gate asks for "
        f"{share.share:.0%} of it: {share.why}"
    )
    return lowered, why
