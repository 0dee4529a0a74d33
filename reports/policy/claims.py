"""The rows and what the seed claims of them, read from `slo.yaml` (OpenSLO v1, one document a row).

Other tools read OpenSLO, too. Only the few fields that a verdict needs are used, and an unexpected value is refused
with the name of its document, so that a slip cannot loosen a claim.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from reports.model import Bound, Op
from reports.policy import unique_keys

REGIONS = ("iad", "ams", "syd", "sin", "sfo", "jnb")
"""The regions of a row that stands once per region."""

_OPS: dict[str, Op] = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


class ClaimError(Exception):
    """`slo.yaml` cannot be used; names the document and what was expected."""


class RowClaim(msgspec.Struct, frozen=True, kw_only=True):
    """A row and what is claimed for it, in words and as a bound. `claimed` is False if the bar is the project's own."""

    row: str
    text: str
    bound: Bound
    claimed: bool = True
    family: str = ""
    """The row's id without its region; the same as `row` if it has none."""
    region: str | None = None
    since: int = 1
    """The first schema of evidence that can hold it."""


class _Objective(msgspec.Struct, forbid_unknown_fields=True):
    op: Literal["lt", "lte", "gt", "gte"]
    value: float
    target: float


class _Source(msgspec.Struct, forbid_unknown_fields=True):
    row: str
    unit: str
    per: Literal["region"] | None = None
    claimed: bool = True
    since: int = 1


def _bound(objectives: list[_Objective], unit: str) -> Bound:
    if len(objectives) == 1:
        return Bound(op=_OPS[objectives[0].op], value=objectives[0].value, unit=unit)
    ops = sorted(objective.op for objective in objectives)
    if ops == ["gte", "lte"] and objectives[0].value == objectives[1].value:
        return Bound(op="==", value=objectives[0].value, unit=unit)
    raise ClaimError("expected one objective, or gte and lte of one value for an equality")


def _row(document: Any) -> list[RowClaim]:
    if document.get("apiVersion") != "openslo/v1" or document.get("kind") != "SLO":
        raise ClaimError("expected apiVersion openslo/v1 and kind SLO")
    spec = document["spec"]
    source = msgspec.convert(spec["indicator"]["spec"]["thresholdMetric"]["metricSource"]["spec"], _Source)
    bound = _bound(msgspec.convert(spec["objectives"], list[_Objective]), source.unit)
    claim = RowClaim(
        row=source.row,
        text=spec["description"],
        bound=bound,
        claimed=source.claimed,
        family=source.row,
        since=source.since,
    )
    if source.per is None:
        return [claim]
    return [msgspec.structs.replace(claim, row=f"{source.row}.{region}", region=region) for region in REGIONS]


def parse_claims(text: str) -> list[RowClaim]:
    """The claims of every row in the order of the file; a row per region is six claims.

    ClaimError names the document that is wrong, and what was expected.
    """
    claims: list[RowClaim] = []
    try:
        documents = list(unique_keys.load_all(text))
    except yaml.YAMLError as error:
        raise ClaimError(f"slo.yaml is not YAML: {error}") from error
    for number, document in enumerate(documents, 1):
        name = document.get("metadata", {}).get("name") if isinstance(document, dict) else None
        try:
            if not isinstance(document, dict):
                raise ClaimError(f"expected a mapping, found {type(document).__name__}")
            claims += _row(document)
        except (ClaimError, KeyError, TypeError, msgspec.ValidationError) as error:
            missing = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise ClaimError(f"slo.yaml, document {number} ({name or 'without a name'}): {missing}") from error
    rows = [claim.row for claim in claims]
    twice = sorted({row for row in rows if rows.count(row) > 1})
    if twice:
        raise ClaimError(f"slo.yaml: each row stands once, but {', '.join(twice)} stands twice")
    return claims


def load_claims(path: Path | None = None) -> list[RowClaim]:
    """The claims of `path`, by default the project's. ClaimError, OSError."""
    return parse_claims((path or Path(__file__).parents[1] / "slo.yaml").read_text("utf-8"))
