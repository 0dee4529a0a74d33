"""Drawing: a plain Vega-Lite specification to inline SVG, without a browser or a network, in the page's colours.

Colours are CSS variables of the page, so that one drawing is readable on light and on dark paper; series also
differ by dash and are named in a legend, so that nothing rests on colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import vl_convert

from reports import words

Spec = dict[str, Any]

WIDTH = 1080
"""Pixels of every drawing's plot; the page scales it."""
_SERIES = [f"var(--s{number})" for number in range(1, 9)]
_DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [1, 0], [6, 3], [2, 2], [8, 3, 2, 3]]
_CONFIG: Spec = {
    "aria": False,
    "background": None,
    "font": "system-ui, sans-serif",
    "padding": {"left": 14, "right": 14, "top": 2, "bottom": 2},
    "axisY": {"minExtent": 84, "maxExtent": 84, "titleX": -62},
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "gridOpacity": 0.7,
    },
    "legend": {
        "labelColor": "var(--ink)",
        "titleColor": "var(--muted)",
        "labelFontSize": 11,
        "orient": "top",
        "title": None,
        "symbolType": "stroke",
        "symbolSize": 200,
        "symbolStrokeWidth": 2,
        "columnPadding": 16,
        "labelLimit": 260,
    },
    "concat": {"spacing": 10},
}


def svg(spec: Spec, label: str) -> str:
    """The drawing as SVG; `label` is its text for screen readers. Nothing is fetched."""
    cleaned = _printable({"config": _CONFIG, **spec})
    drawn = str(vl_convert.vegalite_to_svg(cleaned, allowed_base_urls=[]))
    head = f'<svg role="img" aria-label="{label}" '
    return head + drawn.removeprefix("<svg ")


def _printable(part: Any) -> Any:
    """A specification with control characters written out: the renderer ends the process when it lays out a NUL."""
    match part:
        case str():
            return words.printable(part)
        case dict():
            return {key: _printable(value) for key, value in part.items()}
        case list():
            return [_printable(value) for value in part]
    return part


def colour(field: str, names: Iterable[str]) -> Spec:
    """Encodings that give each series of a field its colour and dash, with a legend."""
    domain = list(names)
    return {
        "color": {"field": field, "type": "nominal", "scale": {"domain": domain, "range": _SERIES}},
        "strokeDash": {"field": field, "type": "nominal", "scale": {"domain": domain, "range": _DASHES}},
    }


def seconds_axis(duration_s: float, *, labelled: bool) -> Spec:
    """The time axis of panels that stand above each other; only the lowest is `labelled`."""
    axis: Spec = {"grid": False, "title": "seconds since the run began", "tickCount": 12}
    if not labelled:
        axis = {"grid": False, "title": None, "labels": False, "ticks": False}
    return {"type": "quantitative", "scale": {"domain": [0, duration_s], "nice": False}, "axis": axis}
