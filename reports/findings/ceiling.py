"""The machine's ceiling, found by calibration, and the gate that follows from it. Pure.

A calibrated rate is the machine's ceiling only if every core was busy, and mostly with the servers: a publisher that is
slow or waits for a disk shows its own limit instead. It is none if its own slices disagree, or if anything that was
measured around it exceeded it: a calibration that fell into a bad moment must not lower a gate. So the ceiling takes a
calibration before and one after the load that agree with each other and lie above what the load reached.

A small machine must not stop a release, and must not hide a slow system: if its ceiling is below the claim, the gate
asks for a share of the ceiling. If it may be below, and no ceiling holds, a miss of the claim's gate is INCONCLUSIVE.
"""

from __future__ import annotations

import msgspec

from reports.evidence import Calibration, Load, Rate
from reports.findings.loaded import Evidence
from reports.model import Bound, Ceiling
from reports.policy.claims import RowClaim
from reports.policy.policy import CalibrationLimits, Policy

_TOGETHER = 2
"""How many calibrations have to agree: one before the load and one after it."""


class Calibrated(msgspec.Struct, frozen=True, kw_only=True):
    """What the calibrations of a row say. `value` is the ceiling; None if none holds."""

    value: float | None
    full: list[float]
    """The rates of a machine that was full of the servers' work, whether one of them is a ceiling or not."""
    says: str
    evidence: list[str]

    def ceiling(self, measured: float | None) -> Ceiling | None:
        """The ceiling, with the share of it that was `measured`; None if either is unknown."""
        if self.value is None or measured is None:
            return None
        return Ceiling(value=self.value, ratio=measured / self.value)

    def beyond(self, bound: Bound) -> bool:
        """Whether the machine may be too small for `bound`: all that it gave misses it."""
        most = max(self.full, default=None) if self.value is None else self.value
        return most is not None and not bound.met_by(most)


def completed_per_s(load: Load, found: Rate) -> float:
    """The offered rate times the share of the operations that were completed in time."""
    return load.offered_per_s * found.completed / found.offered if found.offered else 0.0


def _path(found: Calibration) -> str:
    return f"evidence/calibration/{found.scenario}.{found.when}.json"


def _not_full(found: Calibration, limits: CalibrationLimits) -> str | None:
    """Why a calibration shows something else than a machine that gave all it had; None if it does not."""
    least = min(found.busy, default=0.0)
    if found.acked < 1:
        return "nothing was acknowledged"
    if least < limits.busy_min:
        return f"a core was only {least:.0%} busy, it takes {limits.busy_min:.0%} of each"
    if found.servers <= limits.servers_share_min:
        return f"the servers had only {found.servers:.0%} of the CPU that was used"
    return None


def _not_held(found: Calibration, most: float, limits: CalibrationLimits) -> str | None:
    """Why the rate of a full machine is no ceiling; None if it is one. `most` is the highest rate that was measured."""
    if most > (1 + limits.margin) * found.per_s:
        return f"{most:,.0f}/s were measured, {most / found.per_s:.2f} times as much"
    if not found.slices:
        return "it was not measured in slices, whose noise would show"
    if found.spread > limits.margin:
        seconds = (found.end_ns - found.begin_ns) / 1e9
        return f"{len(found.slices)} slices in {seconds:.0f} s leave it uncertain by more than {limits.margin:.0%}"
    return None


def calibrated(found: list[Calibration], reached: float, limits: CalibrationLimits) -> Calibrated:
    """What the calibrations of one row (at least one) say together; `reached` is the highest rate of a load."""
    full = [each.per_s for each in found if _not_full(each, limits) is None]
    most = max([reached, *full])
    sentences, rates = [], []
    for each in found:
        why_not = _not_full(each, limits) or _not_held(each, most, limits)
        sentences.append(f"{each.per_s:,.0f}/s {each.when}" + (f" (no ceiling: {why_not})" if why_not else ""))
        if why_not is None:
            rates.append(each.per_s)
    says = f"calibrated: {', '.join(sentences)}"
    if 0 < len(rates) < _TOGETHER:
        says += "; a ceiling takes one before and one after the load that agree"
    value = sum(rates) / len(rates) if len(rates) >= _TOGETHER else None
    return Calibrated(value=value, full=full, says=says, evidence=[_path(each) for each in found])


def least_gate(policy: Policy, claim: RowClaim, own: Bound, found: Calibrated | None) -> Bound | None:
    """The lowest gate that a row could have whose machine may be too small for its gate `own`, though no ceiling holds:
    a share of the lowest rate that a full machine gave. None if it is clear that its gate is `own`."""
    share = policy.ceilings.get(claim.family)
    if share is None or found is None or found.value is not None or not found.beyond(own):
        return None
    return Bound(op=own.op, value=share.share * min(found.full), unit=own.unit)


def ceilings(evidence: Evidence, policy: Policy) -> dict[str, Calibrated]:
    """Row -> what its calibrations say, for every row that was calibrated."""
    rows = {
        each.row: [other for other in evidence.calibrations if other.row == each.row] for each in evidence.calibrations
    }
    return {row: calibrated(found, _reached(evidence, row), policy.calibration) for row, found in rows.items()}


def _reached(evidence: Evidence, row: str) -> float:
    """The highest rate of the row that a load of the run completed, in whatever try; 0 without one."""
    loads = [load for tried in (evidence, *evidence.set_aside.values()) for load in tried.loads]
    rates = [(load, each) for load in loads for each in load.rates if each.name == row]
    return max((completed_per_s(load, each) for load, each in rates), default=0.0)


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
