"""The preflight as text: tables that fit a terminal, with impossible claims first."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from infra.preflight.faults import BUDGET_S
from reports.evidence import FaultBound, Feasible, Possibility, Preflight, StreamCover

_ORDER: tuple[Feasible, ...] = ("impossible", "depends", "possible")
_WIDTH = 116
_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))


def to_text(found: Preflight) -> str:
    """The whole preflight."""
    sections = [
        _head(found), _claims(found.claims), _regions(found), _faults(found.faults), _power(found), _streams(found),
        _quorums(found), _resources(found),
    ]  # fmt: skip
    return "\n\n".join(section for section in sections if section)


def _head(found: Preflight) -> str:
    counts = {verdict: sum(claim.verdict == verdict for claim in found.claims) for verdict in _ORDER}
    options = ", ".join(f"{name} {value}" for name, value in found.options.items())
    lines = [
        f"size {found.size}; {options}",
        f"{len(found.claims)} claims: "
        + ", ".join(
            f"{count} {verdict if verdict != 'depends' else 'depend on something'}" for verdict, count in counts.items()
        ),
        *(f"unsound: {note}" for note in found.notes),
    ]
    return "\n".join(lines)


def _claims(claims: Sequence[Possibility]) -> str:
    rows = sorted(claims, key=lambda claim: _ORDER.index(claim.verdict))
    return _table(
        "Claims",
        ("verdict", "row", "best", "why"),
        [(claim.verdict, claim.row, _amount(claim), claim.why) for claim in rows],
    )


def _amount(claim: Possibility) -> str:
    return "-" if claim.best is None else f"{claim.best:,g} {claim.unit}" if claim.best < 1e6 else f"{claim.best:,.0f}"


def _regions(found: Preflight) -> str:
    layouts = list(found.regions[0].publish_ms) if found.regions else []
    names = [
        "region", "read", "write", "lag",
        *(f"{what} {layout}" for what in ("publish", "delivery", "realtime") for layout in layouts),
    ]  # fmt: skip
    rows = []
    for floor in found.regions:
        bus = [
            _ms(what.get(name)) for what in (floor.publish_ms, floor.delivery_ms, floor.realtime_ms) for name in layouts
        ]
        write = _ms(floor.write_ms.get(found.durability))
        rows.append((floor.region, _ms(floor.read_ms), write, _ms(floor.lag_ms), *bus))
    table = _table(f"Floors by distance alone, ms (durability {found.durability})", names, rows)
    formulas = (f"{name.removesuffix('_ms')}: {formula}" for name, formula in found.formulas.items())
    return "\n".join(
        [table, *(line for text in formulas for line in textwrap.wrap(text, _WIDTH, subsequent_indent="  "))]
    )


def _faults(faults: Iterable[FaultBound]) -> str:
    rows = [
        (
            fault.what, f"{fault.rto_min_s:g}", "not by itself" if fault.rto_max_s is None else f"{fault.rto_max_s:g}",
            "-" if fault.budget_share is None else f"{fault.budget_share:.1%}", fault.lost,
            f"{fault.rto_how}; lost: {fault.lost_how}",
        )
        for fault in faults
    ]  # fmt: skip
    title = f"Faults (RTO in s; share of a month's error budget, {BUDGET_S:.0f} s at 99.99%; acknowledged writes lost)"
    return _table_with_text(title, ("fault", "least", "most", "budget", "lost"), rows)


def _power(found: Preflight) -> str:
    rows = [(loss.what, loss.lost, loss.how) for loss in found.power]
    return _table("Power loss: what it can take of what was acknowledged", ("of", "lost", "how"), rows)


def _streams(found: Preflight) -> str:
    rates = list(dict.fromkeys(cover.rate_per_s for cover in found.streams))
    by_name: dict[str, list[StreamCover]] = {}
    for cover in found.streams:
        by_name.setdefault(cover.stream, []).append(cover)
    rows = [
        (
            name, f"{covers[0].msgs_max:,}", length(covers[0].age_max_s),
            *(f"{length(cover.covers_s)}{' (age)' if cover.limited_by == 'age' else ''}" for cover in covers),
        )
        for name, covers in by_name.items()
    ]  # fmt: skip
    columns = ("stream", "messages", "age", *(f"at {rate:,g}/s" for rate in rates))
    return _table(
        "How long a stream keeps what a consumer that is down has to read (one event a message)", columns, rows
    )


def _quorums(found: Preflight) -> str:
    rows = [
        (
            quorum.what, f"{quorum.needs} of {quorum.members}", f"{quorum.may_lose}",
            ", ".join(quorum.ends_with) or "none", quorum.note,
        )
        for quorum in found.quorums
    ]  # fmt: skip
    return _table("Majorities", ("for", "needs", "may lose", "ends with the loss of", ""), rows)


def _resources(found: Preflight) -> str:
    rows = [
        (
            need.what, f"{need.needs:,g} {need.unit}", f"{need.has:,g}", "yes" if need.enough else "NO", need.how,
        )
        for need in found.resources
    ]  # fmt: skip
    return _table("This machine", ("what", "needs", "has", "enough", "how"), rows)


def length(seconds: float) -> str:
    """`8 min`, `30 d`: in the largest unit of which there is at least one."""
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= size), _UNITS[-1])
    return f"{seconds / size:.3g} {unit}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _table_with_text(title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Like `_table`, but with the last cell of each row on lines of its own."""
    head, *lines = _table(title, [*names, ""], [[*row[:-1], ""] for row in rows]).splitlines()
    text = [head, lines[0]]
    for line, row in zip(lines[1:], rows, strict=True):
        text += [line, *textwrap.wrap(row[-1], _WIDTH, initial_indent="    ", subsequent_indent="    ")]
    return "\n".join(text)


def _table(title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns are as wide as their cells; the last one is wrapped to the rest of the line."""
    widths = [max(len(row[at]) for row in (names, *rows)) for at in range(len(names) - 1)]
    before = sum(widths) + 2 * len(widths)
    left = max(40, _WIDTH - before)
    lines = [title, "  ".join(name.ljust(width) for name, width in zip(names, [*widths, 0], strict=True)).rstrip()]
    for row in rows:
        wrapped = textwrap.wrap(row[-1], left) or [""]
        start = "  ".join(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True))
        lines.append(f"{start}  {wrapped[0]}".rstrip())
        lines += [" " * before + more for more in wrapped[1:]]
    return "\n".join(lines)
