"""What a release must meet, read from `policy.yaml`: gates, minimum samples, profiles, waivers, limits.

The policy is the one file that can turn a red run green, so it is read strictly: an unknown key, a pattern
that matches no row or a waiver of a row that does not exist is an error, never ignored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec
import yaml

from reports.model import Bound, Op
from reports.policy import unique_keys
from reports.policy.claims import RowClaim, load_claims


class PolicyError(Exception):
    """`policy.yaml` cannot be used; names the entry and what was expected."""


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Gate(_Strict, frozen=True, kw_only=True):
    """A gate that is not the claim, with the reason."""

    op: Op
    value: float
    unit: str
    why: str


class Minimum(_Strict, frozen=True, kw_only=True):
    """The fewest samples on which a row is judged, and how many seconds they have to cover, with the reason."""

    samples: int
    seconds: float = 0.0
    why: str


class Allowance(_Strict, frozen=True, kw_only=True):
    """What a gate adds to the floor, in the row's unit, where the claim is impossible; with the reason."""

    plus: float
    why: str


class Share(_Strict, frozen=True, kw_only=True):
    """The share of the machine's ceiling that a gate asks for, if the ceiling is below the gate; with the reason."""

    share: float
    why: str


class CalibrationLimits(_Strict, frozen=True, kw_only=True):
    """When a calibrated rate is the machine's ceiling: shares (0 to 1). `margin` is that of everything that
    is compared with a calibrated rate: what exceeds it by more proves that it is no ceiling."""

    busy_min: float
    servers_share_min: float
    margin: float


class Unbuilt(_Strict, frozen=True, kw_only=True):
    """Rows that nothing measures yet."""

    rows: list[str]
    why: str


class Honesty(_Strict, frozen=True, kw_only=True):
    """Shares (0 to 1) beyond which a load cannot be trusted."""

    sent_ratio_min: float
    lag_share_max: float


class HostLimits(_Strict, frozen=True, kw_only=True):
    """Shares (0 to 1) beyond which the machine was too disturbed for a miss to count."""

    taken_mean_max: float
    taken_peak: float
    taken_peak_share_max: float
    timer_lag_share_max: float
    fsync_share_max: float
    fsync_rows: list[str]


class Waiver(_Strict, frozen=True, kw_only=True):
    """A judged row that does not stop a release, up to and including the day `expires`."""

    row: str
    owner: str
    reason: str
    expires: date


class Policy(_Strict, frozen=True, kw_only=True):
    """`policy.yaml`. Rows in `gates`, `allowances` and `minimum` are named without their region."""

    gates: dict[str, Gate]
    allowances: dict[str, Allowance] = {}
    ceilings: dict[str, Share] = {}
    minimum: dict[str, Minimum]
    profiles: dict[str, list[str]]
    where_measured: dict[str, list[str]] = {}
    """Profile -> rows that it judges only in a run that measured them."""
    unbuilt: list[Unbuilt]
    honesty: Honesty
    calibration: CalibrationLimits
    host: HostLimits
    waivers: list[Waiver]

    def gate(self, claim: RowClaim) -> Bound:
        """The gate of a row: its own, else the claim."""
        gate = self.gates.get(claim.family)
        return Bound(op=gate.op, value=gate.value, unit=gate.unit) if gate else claim.bound

    def minimum_samples(self, family: str) -> int:
        return self.minimum[family].samples if family in self.minimum else 1

    def minimum_seconds(self, family: str) -> float:
        return self.minimum[family].seconds if family in self.minimum else 0.0

    def judges(self, profile: str, row: str, *, measured: bool = False) -> bool:
        """Whether the profile judges the row. `measured`: the run measured it, so that `where_measured` counts, too.
        PolicyError for a profile that does not exist."""
        if profile not in self.profiles:
            raise PolicyError(f"unknown profile {profile!r}: expected one of {', '.join(sorted(self.profiles))}")
        return matches(row, self.profiles[profile]) or (measured and matches(row, self.where_measured.get(profile, ())))

    def unbuilt_why(self, row: str) -> str | None:
        """Why nothing measures the row yet; None if something does."""
        return next((entry.why for entry in self.unbuilt if matches(row, entry.rows)), None)

    def waiver(self, row: str, day: date) -> Waiver | None:
        """The waiver that covers the row on that day."""
        return next((waiver for waiver in self.waivers if waiver.row == row and day <= waiver.expires), None)


def matches(row: str, patterns: Iterable[str]) -> bool:
    """Whether the row matches any of the patterns (`api.read_p99.*`) and none that begins with `!`."""
    found = [pattern for pattern in patterns if fnmatchcase(row, pattern.removeprefix("!"))]
    return bool(found) and not any(pattern.startswith("!") for pattern in found)


def _check(policy: Policy, claims: list[RowClaim]) -> None:
    rows = [claim.row for claim in claims]
    families = {claim.family for claim in claims}

    def pattern(where: str, entry: str) -> None:
        if not any(fnmatchcase(row, entry.removeprefix("!")) for row in rows):
            raise PolicyError(f"policy.yaml, {where}: {entry!r} matches no row of slo.yaml")

    for section, entries in (
        ("gates", policy.gates), ("allowances", policy.allowances), ("ceilings", policy.ceilings),
        ("minimum", policy.minimum),
    ):  # fmt: skip
        for name in entries:
            if name not in families:
                raise PolicyError(f"policy.yaml, {section}: there is no row {name!r} in slo.yaml")
    for name, allowance in policy.allowances.items():
        if not 0 < allowance.plus < math.inf:
            raise PolicyError(f"policy.yaml, allowances, {name}: expected plus above 0, found {allowance.plus}")
    for name, ceiling in policy.ceilings.items():
        if not 0 < ceiling.share <= 1:
            raise PolicyError(
                f"policy.yaml, ceilings, {name}: expected a share above 0, at most 1; found {ceiling.share}"
            )
    for name, minimum in policy.minimum.items():
        if minimum.samples < 1 or not 0 <= minimum.seconds < math.inf:
            raise PolicyError(
                f"policy.yaml, minimum, {name}: expected at least 1 sample and 0 or more seconds, found "
                f"{minimum.samples} and {minimum.seconds}"
            )
    for profile, patterns in policy.profiles.items():
        for entry in patterns:
            pattern(f"profiles, {profile}", entry)
    for profile, patterns in policy.where_measured.items():
        if profile not in policy.profiles:
            raise PolicyError(f"policy.yaml, where_measured: there is no profile {profile!r}")
        for entry in patterns:
            pattern(f"where_measured, {profile}", entry)
    for unbuilt in policy.unbuilt:
        for entry in unbuilt.rows:
            pattern("unbuilt", entry)
    for entry in policy.host.fsync_rows:
        pattern("host, fsync_rows", entry)
    for waiver in policy.waivers:
        if waiver.row not in rows:
            raise PolicyError(f"policy.yaml, waivers: there is no row {waiver.row!r} in slo.yaml")
    sections = (("honesty", policy.honesty), ("host", policy.host), ("calibration", policy.calibration))
    for section, limits in sections:
        for name, value in msgspec.structs.asdict(limits).items():
            if isinstance(value, float) and not 0 <= value <= 1:
                raise PolicyError(f"policy.yaml, {section}, {name}: expected a share from 0 to 1, found {value}")


def parse_policy(text: str, claims: list[RowClaim]) -> Policy:
    """The policy, checked against the rows that exist. PolicyError names the entry that is wrong."""
    try:
        policy = msgspec.convert(unique_keys.load(text), Policy)
    except yaml.YAMLError as error:
        raise PolicyError(f"policy.yaml is not YAML: {error}") from error
    except msgspec.ValidationError as error:
        raise PolicyError(f"policy.yaml: {error}") from error
    _check(policy, claims)
    return policy


def load_policy(path: Path | None = None, claims: list[RowClaim] | None = None) -> Policy:
    """The policy of `path`, by default the project's. PolicyError, ClaimError, OSError."""
    text = (path or Path(__file__).parents[1] / "policy.yaml").read_text("utf-8")
    return parse_policy(text, load_claims() if claims is None else claims)
