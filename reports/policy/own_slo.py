"""Objectives of a user's own, as OpenSLO v1 writes them: read into bounds on our rows, or refused with the line.

A query of another system cannot be asked here, so that each SLO names the row that it is about, in an annotation. A
ratio of good to all requests is `availability`; a threshold of a latency is one of the rows of a p99. Documents of
other kinds (Service, DataSource, AlertPolicy) are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

import msgspec
import yaml

from reports.model import Bound, Op
from reports.policy import unique_keys
from reports.policy.claims import RowClaim
from reports.policy.policy import Gate, Policy, matches

ROW = "covenant/row"
"""The annotation that names the row of an SLO."""
UNIT = "covenant/unit"
"""The annotation that says what a threshold's value counts: ms (which is usual) or s."""
_RATIO_ROW = "availability"
_OPS: dict[str, Op] = {"lt": "<", "lte": "<="}
_TO_MS = {"ms": 1.0, "s": 1000.0}
_P99 = "_p99"
_PERCENTILE = 0.99
_BYTES_MAX = 1 << 20


class SloError(ValueError):
    """A file of objectives that cannot be used; one line: file, line, what was expected, what was found."""


class Objective(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asks of a row, which is named without its region."""

    row: str
    bound: Bound
    text: str


class _Document:
    """One document, as data and as YAML nodes that know their lines."""

    def __init__(self, name: str, node: yaml.Node, data: Any) -> None:
        self._name = name
        self._node = node
        self.data = data

    def refuse(self, problem: str, *path: str | int) -> NoReturn:
        """SloError with the line of the entry, or of the nearest one around it if it is missing."""
        node = self._node
        line = node.start_mark.line
        for key in path:
            below = _below(node, key)
            if below is None:
                break
            line, node = below
        where = ".".join(map(str, path))
        raise SloError(f"{self._name}:{line + 1}: {where + ': ' if where else ''}{problem}")

    def get(self, *path: str | int) -> Any:
        """The entry; None if it is missing."""
        found = self.data
        for key in path:
            try:
                found = found[key]
            except (KeyError, IndexError, TypeError):
                return None
        return found


def _below(node: yaml.Node, key: str | int) -> tuple[int, yaml.Node] | None:
    """(line, node) of an entry."""
    if isinstance(node, yaml.MappingNode):
        return next(((name.start_mark.line, value) for name, value in node.value if name.value == key), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key].start_mark.line, node.value[key]
    return None


def parse(name: str, text: str, claims: Iterable[RowClaim]) -> list[Objective]:
    """The objectives in a file of one or more documents; `name` is the file's, for errors. SloError."""
    units = {claim.family: claim.bound.unit for claim in claims}
    documents = _documents(name, text)
    indicators = {str(one.get("metadata", "name")): one for one in documents if one.get("kind") == "SLI"}
    found = [_objective(one, indicators, units) for one in documents if one.get("kind") == "SLO"]
    if not found:
        raise SloError(f"{name}:1: expected a document of kind SLO, found none")
    rows = [each.row for each in found]
    if twice := sorted({row for row in rows if rows.count(row) > 1}):
        raise SloError(f"{name}:1: expected one SLO of each row, found more of {', '.join(twice)}")
    return found


def _documents(name: str, text: str) -> list[_Document]:
    if len(text) > _BYTES_MAX:
        raise SloError(f"{name}:1: expected at most {_BYTES_MAX >> 20} MiB, found {len(text):,} characters")
    try:
        nodes = [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node is not None]
        # An empty document has no node and no content.
        contents = [content for content in unique_keys.load_all(text) if content is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise SloError(f"{name}:{line}: this is not YAML: {getattr(error, 'problem', None) or error}") from None
    found = []
    for node, content in zip(nodes, contents, strict=False):
        document = _Document(name, node, content)
        if not isinstance(content, dict):
            document.refuse(f"expected a document of OpenSLO, found {type(content).__name__}")
        if content.get("apiVersion") != "openslo/v1":
            document.refuse(f"expected openslo/v1, found {content.get('apiVersion')!r}", "apiVersion")
        found.append(document)
    return found


def _objective(slo: _Document, indicators: dict[str, _Document], units: dict[str, str]) -> Objective:
    row = slo.get("metadata", "annotations", ROW)
    if row not in units:
        known = ", ".join([_RATIO_ROW, *(family for family in units if family.endswith(_P99))])
        found = "none" if row is None else repr(row)
        slo.refuse(
            f'a query cannot be asked here: say which row it is about, as in annotations: {{{ROW}: {_RATIO_ROW}}}; '
            f"expected one of {known}, found {found}",
            "metadata", "annotations", ROW,
        )  # fmt: skip
    method = slo.get("spec", "budgetingMethod")
    if method != "Occurrences":
        slo.refuse(f"a run counts each request: expected Occurrences, found {method!r}", "spec", "budgetingMethod")
    objectives = slo.get("spec", "objectives")
    if not isinstance(objectives, list) or len(objectives) != 1:
        slo.refuse("expected one objective, an SLO each", "spec", "objectives")
    kind = _kind(slo, indicators)
    target = _target(slo)
    bound = _ratio(slo, row, target) if kind == "ratioMetric" else _threshold(slo, row, target, units[row])
    text = str(slo.get("spec", "description") or slo.get("metadata", "displayName") or slo.get("metadata", "name"))
    return Objective(row=row, bound=bound, text=" ".join(text.split()))


def _kind(slo: _Document, indicators: dict[str, _Document]) -> str:
    """ratioMetric or thresholdMetric, of the SLO's own indicator or of the SLI that it refers to."""
    where: tuple[str, ...] = ("spec", "indicator", "spec")
    holder = slo
    if (reference := slo.get("spec", "indicatorRef")) is not None:
        if reference not in indicators:
            slo.refuse(f"expected an SLI of this file, found {reference!r}", "spec", "indicatorRef")
        holder, where = indicators[reference], ("spec",)
    found = [kind for kind in ("ratioMetric", "thresholdMetric") if holder.get(*where, kind) is not None]
    if len(found) != 1:
        holder.refuse("expected either ratioMetric or thresholdMetric", *where)
    if found == ["ratioMetric"]:
        ratio = holder.get(*where, "ratioMetric")
        parts = ratio.keys() if isinstance(ratio, dict) else set()
        if "raw" not in parts and not ("total" in parts and parts & {"good", "bad"}):
            holder.refuse("expected total, and good or bad", *where, "ratioMetric")
    return found[0]


def _target(slo: _Document) -> float:
    at = ("spec", "objectives", 0)
    given = [key for key in ("target", "targetPercent") if slo.get(*at, key) is not None]
    if len(given) != 1:
        slo.refuse(f"expected either target or targetPercent, found {' and '.join(given) or 'neither'}", *at)
    most = 1.0 if given == ["target"] else 100.0
    value = slo.get(*at, given[0])
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < most:
        slo.refuse(f"expected a number above 0 and below {most:g}, found {value!r}", *at, given[0])
    return round(float(value) / most, 12)


def _ratio(slo: _Document, row: str, target: float) -> Bound:
    if row != _RATIO_ROW:
        slo.refuse(
            f"a ratio says nothing of a time: expected {_RATIO_ROW} for a ratioMetric, or a thresholdMetric for {row}",
            "metadata", "annotations", ROW,
        )  # fmt: skip
    return Bound(op=">=", value=round(100 * target, 9), unit="%")


def _threshold(slo: _Document, row: str, target: float, unit: str) -> Bound:
    at = ("spec", "objectives", 0)
    if not row.endswith(_P99):
        slo.refuse(f"expected a row of a latency for a thresholdMetric, found {row}", "metadata", "annotations", ROW)
    if target != _PERCENTILE:
        slo.refuse(f"rows of a latency are of its p99: expected {_PERCENTILE:g}, found {target:g}", *at, "target")
    op, value = slo.get(*at, "op"), slo.get(*at, "value")
    if op not in _OPS:
        slo.refuse(f"a latency is bounded above: expected lt or lte, found {op!r}", *at, "op")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        slo.refuse(f"expected a number above 0, found {value!r}", *at, "value")
    own_unit = slo.get("metadata", "annotations", UNIT) or unit
    if own_unit not in _TO_MS:
        slo.refuse(f"expected ms or s, found {own_unit!r}", "metadata", "annotations", UNIT)
    return Bound(op=_OPS[op], value=value * _TO_MS[own_unit] / _TO_MS[unit], unit=unit)


def applied(
    objectives: Iterable[Objective], claims: list[RowClaim], policy: Policy, profile: str
) -> tuple[list[RowClaim], Policy]:
    """Claims and policy of a run that is to meet these objectives, too. Each takes the place of its row's claim, the
    run judges its row, and the row's gate becomes the stricter of the two: a file can loosen nothing."""
    wanted = {each.row: each for each in objectives}
    gates, rows = dict(policy.gates), list(policy.profiles[profile])
    new_claims = []
    for claim in claims:
        own = wanted.get(claim.family)
        if own is None:
            new_claims.append(claim)
            continue
        new_claims.append(msgspec.structs.replace(claim, text=own.text, bound=own.bound, claimed=True))
        gate = _stricter(policy.gate(claim), own.bound)
        gates[claim.family] = Gate(op=gate.op, value=gate.value, unit=gate.unit, why="the stricter of the two")
        if not matches(claim.row, rows):
            rows.append(claim.row)
    profiles = policy.profiles | {profile: rows}
    return new_claims, msgspec.structs.replace(policy, gates=gates, profiles=profiles)


def _stricter(ours: Bound, own: Bound) -> Bound:
    if ours.value == own.value:
        return own if own.op in ("<", ">") else ours
    lower = own.value < ours.value
    return own if lower == (own.op in ("<", "<=")) else ours
