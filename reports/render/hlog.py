"""HDR histogram logs (`.hlog`, format 1.3), for the usual tools: HistogramLogAnalyzer, HistogramLogProcessor,
HdrHistogram in any language.

One file for each operation of a load, with one interval: the measured window. The lines are written here, since hdrh's
own HistogramLogWriter cuts the interval's maximum to whole units and writes an older format.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from reports.evidence import Latencies, Load, Run, max_ms

_LEGEND = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'


def histograms(loads: list[Load]) -> Iterator[tuple[str, Load, Latencies]]:
    """(file name, load, latencies) for each operation of each load, and for how late its sends were."""
    for load in loads:
        for operation in load.operations:
            yield f"{load.scenario}.{operation.row}.hlog", load, operation.latencies
        yield f"{load.scenario}.schedule_lag.hlog", load, load.schedule_lag


def to_hlog(run: Run, load: Load, latencies: Latencies) -> str:
    """The log of one distribution: values in microseconds, the interval's maximum in ms, instants in seconds."""
    began = datetime.fromisoformat(run.started_at).timestamp() + (load.begin_ns - run.started_ns) / 1e9
    day = datetime.fromtimestamp(began, UTC)
    length_s = (load.end_ns - load.begin_ns) / 1e9
    lines = [
        f"#[Covenant run {run.run_id}, load {load.scenario}]",
        "#[Values are microseconds: HistogramLogProcessor -outputValueUnitRatio 1000 prints ms]",
    ]
    if latencies.failed or latencies.unknown:
        lines.append(
            f"#[Not in the histogram, and ranked above it by the report: {latencies.failed} failed, "
            f"{latencies.unknown} never answered]"
        )
    lines += [
        "#[Histogram log format version 1.3]",
        f"#[BaseTime: {began:.3f} (seconds since epoch)]",
        f"#[StartTime: {began:.3f} (seconds since epoch), {day:%a %b %d %H:%M:%S UTC %Y}]",
        _LEGEND,
        f"0.000,{length_s:.3f},{max_ms(latencies) or 0.0:.3f},{latencies.hdr}",
    ]
    return "\n".join(lines) + "\n"
