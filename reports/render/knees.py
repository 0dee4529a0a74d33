"""The picture of a search for a knee: latency against rate, each gate, and the interval that the knee lies in."""

from __future__ import annotations

from reports import words
from reports.evidence import Knee, StepOutcome
from reports.render.vega import WIDTH, Spec, colour, svg

_OUTCOMES: dict[StepOutcome, tuple[str, str, str]] = {
    "held": ("every gate held", "circle", "var(--pass)"),
    "missed": ("a gate was missed", "cross", "var(--fail)"),
    "late": ("the generator was late", "triangle-up", "var(--invalid)"),
    "disturbed": ("the machine was disturbed", "diamond", "var(--unsure)"),
    "inconclusive": ("too little evidence", "square", "var(--muted)"),
}
"""How each outcome is drawn: words, shape, colour. A try whose load could not be made has no point."""


def _values(knee: Knee) -> list[Spec]:
    return [
        {"rate": step.rate, "row": found.row, "percentile": name, "ms": ms, "outcome": _OUTCOMES[step.outcome][0]}
        for step in knee.steps
        if step.outcome in _OUTCOMES
        for found in step.latencies
        for name, ms in (("p50", found.p50_ms), ("p99", found.p99_ms))
        if ms is not None and ms > 0
    ]


def _gates(knee: Knee) -> list[Spec]:
    """One rule for each gate's value, labelled with the rows that have this gate."""
    asked: dict[float, list[str]] = {}
    for found in (found for step in knee.steps for found in step.latencies):
        if found.gate_ms is not None and found.row not in asked.setdefault(found.gate_ms, []):
            asked[found.gate_ms].append(found.row)
    return [
        {"ms": gate, "label": f"gate {gate:g} ms: {words.shortened(', '.join(rows), 90)}"}
        for gate, rows in sorted(asked.items())
    ]


def _interval(knee: Knee, x: Spec) -> list[Spec]:
    """The rates that held and missed, and the band between them."""
    ends = [rate for rate in (knee.held, knee.missed) if rate is not None]
    layers: list[Spec] = [
        {
            "data": {"values": [{"rate": rate} for rate in ends]},
            "mark": {"type": "rule", "stroke": "var(--ink)", "strokeWidth": 1},
            "encoding": {"x": x},
        }
    ]
    if len(ends) == 2:
        band = {"rate": ends[0], "end": ends[1], "label": f"knee: {words.number(ends[0])} – {words.number(ends[1])}"}
        data = {"values": [band]}
        layers += [
            {
                "data": data,
                "mark": {"type": "rect", "fill": "var(--s1)", "opacity": 0.18},
                "encoding": {"x": x, "x2": {"field": "end"}, "y": {"value": 0}, "y2": {"value": "height"}},
            },
            {
                "data": data,
                "mark": {"type": "text", "align": "right", "dx": -6, "dy": 8, "fontSize": 11, "fill": "var(--ink)"},
                "encoding": {"x": x, "y": {"value": 0}, "text": {"field": "label"}},
            },
        ]
    return layers


def picture(knee: Knee) -> str:
    """p50 and p99 of every try against its rate, both on a logarithmic scale; nothing without two rates."""
    values = _values(knee)
    rates = sorted({value["rate"] for value in values})
    if len(rates) < 2:
        return ""
    domain = [rates[0] / 1.1, max(rates[-1], knee.missed or 0.0) * 1.1]
    scale = {"type": "log", "domain": domain, "nice": False}
    axis = {"title": knee.unit, "values": rates, "format": ",~g", "labelOverlap": "greedy", "grid": False}
    x = {"field": "rate", "type": "quantitative", "scale": scale, "axis": axis}
    y = {"field": "ms", "type": "quantitative", "scale": {"type": "log"}, "axis": {"title": "ms", "tickCount": 5}}
    rows = list(dict.fromkeys(value["row"] for value in values))
    lines: list[Spec] = [
        {
            "data": {"values": [value for value in values if value["percentile"] == name]},
            "mark": {"type": "line", "strokeWidth": width, "opacity": opacity},
            "encoding": {
                "x": x,
                "y": {**y, "aggregate": "median"},
                **colour("row", rows),
            },
        }
        for name, width, opacity in (("p50", 1.0, 0.6), ("p99", 2.0, 1.0))
    ]
    seen = [each for each in _OUTCOMES.values() if any(value["outcome"] == each[0] for value in values)]
    names = [name for name, _, _ in seen]
    points: Spec = {
        "data": {"values": values},
        "mark": {"type": "point", "filled": True, "size": 46, "opacity": 0.9},
        "encoding": {
            "x": x,
            "y": y,
            "shape": {"field": "outcome", "scale": {"domain": names, "range": [shape for _, shape, _ in seen]}},
            "color": {
                "field": "outcome",
                "scale": {"domain": names, "range": [tone for _, _, tone in seen]},
                "legend": {"symbolStrokeWidth": 0, "symbolSize": 70},
            },
        },
    }
    layers = [*_interval(knee, x), *_gate_layers(_gates(knee), y), {"layer": lines}, points]
    resolve = {"scale": {"color": "independent", "shape": "independent", "strokeDash": "independent"}}
    return svg(
        {"width": WIDTH, "height": 260, "layer": layers, "resolve": resolve}, f"Latency against rate: {knee.scenario}"
    )


def _gate_layers(gates: list[Spec], y: Spec) -> list[Spec]:
    data = {"values": gates}
    text = {"type": "text", "align": "left", "dx": 4, "dy": -6, "fontSize": 11, "fill": "var(--muted)"}
    return [
        {
            "data": data,
            "mark": {"type": "rule", "stroke": "var(--muted)", "strokeDash": [3, 3]},
            "encoding": {"y": y},
        },
        {"data": data, "mark": text, "encoding": {"x": {"value": 0}, "y": y, "text": {"field": "label"}}},
    ]
