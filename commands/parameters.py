"""Types of options that click has not."""

from __future__ import annotations

import click

from loadtests.arrivals.durations import parse_duration

SLO_HELP = (
    "Objectives of your own to be met besides (OpenSLO v1): a ratioMetric for availability, a thresholdMetric for the "
    "p99 of a latency. Each names its row, metadata.annotations: {covenant/row: availability}. It becomes the row's "
    "claim, and its gate where that is stricter."
)


class Duration(click.ParamType[float]):
    """A length of time, with units or in seconds; seconds for the command."""

    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if not isinstance(value, str):
            return float(value)
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = Duration()
