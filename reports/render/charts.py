"""The report's pictures: a run on one clock, latency by percentile, and the machine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import fmean

from reports.evidence import HostSample, Latencies, Load, Second, percentile_ms
from reports.findings.loaded import Evidence, Trial
from reports.findings.recovery import recoveries, redundancy_s
from reports.model import Report
from reports.render.thinning import grouped
from reports.render.vega import WIDTH, Spec, colour, seconds_axis, svg

_PERCENTS = [0, 10, 25, 50, 60, 70, 75, 80, 85, 90, 92, 94, 95, 96, 97, 98, 98.5, 99]
_PERCENTS += [99.2, 99.4, 99.5, 99.6, 99.7, 99.8, 99.9, 99.93, 99.95, 99.97, 99.98, 99.99, 99.995, 99.999]
_CHARACTER_PX = 6.4
_BIN_S = 0.25


def _lanes(spans: list[tuple[str, float, float]]) -> list[tuple[int, str, float, float]]:
    """(lane, name, begin, end): each span is placed in the first lane that is free."""
    ends: list[float] = []
    placed: list[tuple[int, str, float, float]] = []
    for name, begin, end in sorted(spans, key=lambda span: (span[1], -span[2])):
        lane = next((number for number, taken in enumerate(ends) if taken <= begin), len(ends))
        ends[lane:] = [end, *ends[lane + 1 :]]
        placed.append((lane, name, begin, end))
    return placed


def _phase_spans(evidence: Evidence, duration_s: float) -> list[tuple[str, float, float]]:
    began: dict[str, float] = {}
    spans: list[tuple[str, float, float]] = []
    for event in evidence.timeline:
        at_s = (event.at_ns - evidence.run.started_ns) / 1e9
        if event.kind == "phase_begin":
            began[event.name] = at_s
        elif event.kind == "phase_end" and event.name in began:
            spans.append((event.name, began.pop(event.name), at_s))
    return spans + [(name, at_s, duration_s) for name, at_s in began.items()]


def _phases(evidence: Evidence, duration_s: float) -> Spec | None:
    placed = _lanes(_phase_spans(evidence, duration_s))
    if not placed:
        return None
    values = []
    for lane, name, begin, end in placed:
        room = int((end - begin) / duration_s * WIDTH / _CHARACTER_PX) - 1
        label = name if len(name) <= room else name[: room - 1] + "…" if room > 3 else ""
        values.append({"lane": lane, "begin": begin, "end": end, "label": label})
    y = {"field": "lane", "type": "ordinal", "axis": None}
    x = {"field": "begin", **seconds_axis(duration_s, labelled=False)}
    return {
        "width": WIDTH,
        "height": 20 * (1 + max(lane for lane, *_ in placed)),
        "data": {"values": values},
        "encoding": {"x": x, "y": y},
        "layer": [
            {
                "mark": {
                    "type": "rect",
                    "fill": "var(--band)",
                    "stroke": "var(--page)",
                    "strokeWidth": 2,
                    "cornerRadius": 3,
                },
                "encoding": {"x2": {"field": "end"}},
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 6, "fontSize": 11, "fill": "var(--ink)"},
                "encoding": {"text": {"field": "label"}},
            },
        ],
    }


def _faults(evidence: Evidence, duration_s: float) -> list[Spec]:
    """One band for each fault: from the fault until everything was stable again, and until redundancy was back."""
    bands = []
    for trial in evidence.trials:
        record = trial.record
        if record.fault_ns is None:
            continue
        begin = (record.fault_ns - evidence.run.started_ns) / 1e9
        stable = [result.slo_stable for result in recoveries(record, trial.probes)]
        ended = (record.end_ns - record.fault_ns) / 1e9
        until = max((ended if value is None else value for value in stable), default=ended)
        whole = max(until, redundancy_s(record) or ended)
        bands.append(
            {
                "name": trial.name,
                "begin": begin,
                "end": begin + until,
                "whole": begin + whole,
                "late": begin > 0.85 * duration_s,
            }
        )
    return bands


def _fault_layers(bands: list[Spec], *, named: bool) -> list[Spec]:
    data = {"values": bands}
    full = {"y": {"value": 0}, "y2": {"value": "height"}}
    layers: list[Spec] = [
        {
            "data": data,
            "mark": {"type": "rect", "fill": "var(--fail)", "opacity": opacity},
            "encoding": {"x": {"field": "begin", "type": "quantitative"}, "x2": {"field": end}, **full},
        }
        for end, opacity in (("whole", 0.07), ("end", 0.2))
    ]
    layers.append(
        {
            "data": data,
            "mark": {"type": "rule", "stroke": "var(--fail)", "strokeWidth": 1},
            "encoding": {"x": {"field": "begin", "type": "quantitative"}},
        }
    )
    if named:
        layers.append(
            {
                "data": data,
                "mark": {
                    "type": "text",
                    "align": {"expr": "datum.late ? 'right' : 'left'"},
                    "dx": {"expr": "datum.late ? -4 : 4"},
                    "dy": 8,
                    "fontSize": 11,
                    "fill": "var(--fail)",
                },
                "encoding": {
                    "x": {"field": "begin", "type": "quantitative"},
                    "y": {"value": 0},
                    "text": {"field": "name"},
                },
            }
        )
    return layers


def _load_panel(evidence: Evidence, duration_s: float, bands: list[Spec], *, labelled: bool) -> Spec:
    values: list[Spec] = []
    longest = 1
    lines = {load.scenario: load.seconds for load in evidence.loads}
    lines |= {f"{load.scenario}: {name}": seconds for load in evidence.loads for name, seconds in _observed(load)}
    for scenario, seconds in lines.items():
        # A pixel shows the worst of its seconds.
        points = [(second.at_ns, second.p99_ms) for second in seconds if second.p99_ms]
        for group in grouped(points, WIDTH):
            at_s, worst = (group[0][0] - evidence.run.started_ns) / 1e9, max(p99_ms for _, p99_ms in group)
            values.append({"scenario": scenario, "t": at_s, "p99": worst})
            longest = max(longest, len(group))
    title = f"worst p99 of {longest} s, ms" if longest > 1 else "p99 a second, ms"
    around = [value["p99"] for value in values] or [1.0]
    line: Spec = {
        "data": {"values": values},
        "mark": {"type": "line", "strokeWidth": 1.6},
        "encoding": {
            "x": {"field": "t", **seconds_axis(duration_s, labelled=labelled)},
            "y": {
                "field": "p99",
                "type": "quantitative",
                "scale": {"type": "log", "nice": False, "domain": [min(around) / 1.5, max(around) * 2]},
                "axis": {"title": title, "tickCount": 4},
            },
            **colour("scenario", list(lines)),
        },
    }
    return {"width": WIDTH, "height": 150, "layer": [*_fault_layers(bands, named=True), line]}


def _observed(load: Load) -> Iterator[tuple[str, list[Second]]]:
    """Row -> what a load's observers saw of it: of each second the region where it was worst."""
    for name in dict.fromkeys(each.name for each in load.observed):
        worst: dict[int, Second] = {}
        for second in (second for each in load.observed if each.name == name for second in each.seconds):
            known = worst.setdefault(second.at_ns, second)
            if (second.p99_ms or 0.0) > (known.p99_ms or 0.0):
                worst[second.at_ns] = second
        yield name, [worst[at_ns] for at_ns in sorted(worst)]


def _bad_probes(trial: Trial, begin_ns: int) -> list[Spec]:
    """The worst probe of each bin that has one that failed, was never answered or was slow."""
    worst: dict[tuple[str, int], str] = {}
    rank = {"slow": 0, "failed": 1, "no answer": 2}
    for probe in trial.probes:
        slo_us = trial.record.slo.get(probe.operation)
        kind = {"fail": "failed", "unknown": "no answer"}.get(probe.outcome)
        if kind is None and slo_us is not None and probe.latency_us > slo_us:
            kind = "slow"
        if kind is None:
            continue
        key = (f"{probe.operation} {probe.region}", int((probe.at_ns - begin_ns) / 1e9 / _BIN_S))
        if key not in worst or rank[kind] > rank[worst[key]]:
            worst[key] = kind
    return [
        {"key": key, "t": number * _BIN_S, "end": (number + 1) * _BIN_S, "kind": kind}
        for (key, number), kind in worst.items()
    ]


def _probe_panel(evidence: Evidence, duration_s: float, bands: list[Spec]) -> Spec | None:
    values = [value for trial in evidence.trials for value in _bad_probes(trial, evidence.run.started_ns)]
    if not values:
        return None
    keys = sorted({value["key"] for value in values})
    kinds = ["slow", "failed", "no answer"]
    marks: Spec = {
        "data": {"values": values},
        "mark": {"type": "rect", "height": {"band": 0.7}},
        "encoding": {
            "x": {"field": "t", **seconds_axis(duration_s, labelled=True)},
            "x2": {"field": "end"},
            "y": {
                "field": "key",
                "type": "nominal",
                "sort": keys,
                "axis": {"title": None, "grid": True, "bandPosition": 1, "ticks": False},
            },
            "color": {
                "field": "kind",
                "type": "nominal",
                "scale": {"domain": kinds, "range": ["var(--unsure)", "var(--fail)", "var(--invalid)"]},
                "legend": {"symbolType": "square", "symbolSize": 90, "symbolStrokeWidth": 0},
            },
        },
    }
    return {"width": WIDTH, "height": 18 * len(keys), "layer": [*_fault_layers(bands, named=False), marks]}


def timeline(evidence: Evidence, report: Report) -> str:
    """Phases, faults, each load's p99 and the probes that went wrong, on one clock."""
    last_ns = max(
        [event.at_ns for event in evidence.timeline]
        + [load.end_ns for load in evidence.loads]
        + [trial.record.end_ns for trial in evidence.trials]
        + [evidence.run.started_ns + round((report.duration_s or 0) * 1e9)],
    )
    duration_s = (last_ns - evidence.run.started_ns) / 1e9
    if duration_s <= 0:
        return ""
    bands = _faults(evidence, duration_s)
    probes = _probe_panel(evidence, duration_s, bands)
    panels = [
        _phases(evidence, duration_s),
        _load_panel(evidence, duration_s, bands, labelled=probes is None) if evidence.loads else None,
        probes,
    ]
    drawn = [panel for panel in panels if panel is not None]
    if not drawn:
        return ""
    spec = {"vconcat": drawn, "resolve": {"scale": {"color": "independent", "strokeDash": "independent"}}}
    return svg(spec, "Timeline: phases, faults, p99 a second, and probes that went wrong")


def _curve(name: str, latencies: Latencies) -> list[Spec]:
    total = latencies.samples + latencies.failed + latencies.unknown
    points = [
        (percent, percentile_ms(latencies, percent)) for percent in _PERCENTS if 100 - percent >= 100 / max(total, 1)
    ]
    return [
        {"row": name, "inverse": 100 / (100 - percent), "ms": max(value, 0.001)}
        for percent, value in points
        if value is not None and not math.isinf(value)
    ]


def curves(evidence: Evidence, report: Report) -> str:
    """Latency by percentile, unrounded, with the judged rows' gates; a curve ends where operations failed."""
    values: list[Spec] = []
    names: list[str] = []
    for load in evidence.loads:
        for operation in load.operations:
            names.append(operation.row)
            values += _curve(operation.row, operation.latencies)
    if not values:
        return ""
    judged = [row for row in report.slos if row.id in names and row.verdict != "NOT_JUDGED"]
    gates = {row.gate.value for row in judged if row.gate is not None and row.gate.unit == "ms"}
    rules = [{"ms": gate, "label": f"gate {gate:g} ms"} for gate in sorted(gates)]
    y = {"field": "ms", "type": "quantitative", "scale": {"type": "log"}, "axis": {"title": "ms", "tickCount": 6}}
    ticks = [1, 2, 10, 100, 1000, 10_000, 100_000]
    x = {
        "field": "inverse",
        "type": "quantitative",
        "scale": {"type": "log", "domain": [1, max(value["inverse"] for value in values)], "nice": False},
        "axis": {
            "title": "percentile",
            "values": ticks,
            "labelExpr": "format(100 - 100 / datum.value, '~r') + '%'",
            "grid": True,
        },
    }
    gate_marks: list[Spec] = [
        {
            "data": {"values": rules},
            "mark": {"type": "rule", "stroke": "var(--muted)", "strokeDash": [3, 3]},
            "encoding": {"y": y},
        },
        {
            "data": {"values": rules},
            "mark": {"type": "text", "align": "left", "dx": 4, "dy": -6, "fontSize": 11, "fill": "var(--muted)"},
            "encoding": {"x": {"value": 0}, "y": y, "text": {"field": "label"}},
        },
    ]
    line: Spec = {
        "data": {"values": values},
        "mark": {"type": "line", "strokeWidth": 1.8},
        "encoding": {"x": x, "y": y, **colour("row", names)},
    }
    return svg({"width": WIDTH, "height": 260, "layer": [*gate_marks, line]}, "Latency by percentile, with the gates")


_LIMITED = "held back by the CPU limit"
_CPU_COLOURS = {
    "this run": "var(--s1)", "other programs": "var(--unsure)", "stolen": "var(--fail)", _LIMITED: "var(--invalid)"
}  # fmt: skip


def _host_values(samples: list[HostSample], start_ns: int) -> tuple[list[Spec], list[Spec]]:
    cpu: list[Spec] = []
    waits: list[Spec] = []
    limited = any(sample.throttled for sample in samples)
    for group in grouped(samples, WIDTH):  # A pixel shows the mean of its shares, and the worst of its waits.
        seconds = (group[0].at_ns - start_ns) / 1e9
        own = fmean(max(0.0, sample.busy - sample.steal - sample.foreign) for sample in group)
        foreign, steal = fmean(sample.foreign for sample in group), fmean(sample.steal for sample in group)
        shares = [("1 this run", own), ("2 other programs", foreign), ("3 stolen", steal)]
        if limited:
            shares.append((f"4 {_LIMITED}", fmean(sample.throttled for sample in group)))
        cpu += [{"t": seconds, "who": who[2:], "order": who, "share": share} for who, share in shares]
        late_ms, fsync_ms = max(sample.timer_lag_ms for sample in group), max(sample.fsync_ms for sample in group)
        times = (("late timer", late_ms), ("fsync", fsync_ms))
        waits += [{"t": seconds, "what": what, "ms": value} for what, value in times if value > 0]
    return cpu, waits


def host(evidence: Evidence) -> str:
    """CPU by user, and how late timers and fsyncs were; nothing with fewer than two samples."""
    if len(evidence.host) < 2:
        return ""
    cpu, waits = _host_values(evidence.host, evidence.run.started_ns)
    last = max(value["t"] for value in cpu)
    present = {value["who"] for value in cpu}
    shown = [who for who in _CPU_COLOURS if who in present]
    shares: Spec = {
        "width": WIDTH,
        "height": 110,
        "data": {"values": cpu},
        "mark": {"type": "area", "interpolate": "step-before", "opacity": 0.75, "line": False},
        "encoding": {
            "x": {"field": "t", **seconds_axis(last, labelled=False)},
            "y": {
                "field": "share",
                "type": "quantitative",
                "stack": "zero",
                "axis": {"title": "of all cores", "format": "%", "tickCount": 4},
            },
            "order": {"field": "order"},
            "color": {
                "field": "who",
                "type": "nominal",
                "scale": {"domain": shown, "range": [_CPU_COLOURS[who] for who in shown]},
                "legend": {"symbolType": "square", "symbolSize": 90, "symbolStrokeWidth": 0},
            },
        },
    }
    delays: Spec = {
        "width": WIDTH,
        "height": 80,
        "data": {"values": waits},
        "mark": {"type": "line", "strokeWidth": 1.4},
        "encoding": {
            "x": {"field": "t", **seconds_axis(last, labelled=True)},
            "y": {
                "field": "ms",
                "type": "quantitative",
                "scale": {"type": "log"},
                "axis": {"title": "ms", "tickCount": 4},
            },
            **colour("what", ["late timer", "fsync"]),
        },
    }
    resolve = {"scale": {"color": "independent", "strokeDash": "independent"}}
    return svg({"vconcat": [shares, delays], "resolve": resolve}, "The machine: CPU by user, late timers, fsync")
