"""How a user says how operations shall arrive: `poisson`, `ramp:50..500`, `replay:night.csv` and the like.

A recorded rate is a CSV file (second, operations a second; each holds until the next one's second), or the run folder
or the load's own record of an earlier run, whose seconds are offered again.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

from loadtests.arrivals.arrival_process import ArrivalProcess, check
from loadtests.arrivals.durations import parse_duration, parse_number
from loadtests.arrivals.schedule import ScheduleError, check_duration, check_rate
from reports.evidence import Load, RunFolder
from reports.evidence.folder import EvidenceError, read_record

CONSTANT = "constant"
GRAMMAR = (
    "constant, poisson, ramp:FROM..TO, step:RATE,RATE,..., stages:RATE@LENGTH,RATE@LENGTH,... (each rate is reached"
    " within its length, from the one before; the first from 0, or at once: 100@0), spike:PEAK@FROM..TO, replay:FILE,"
    " or poisson+ before one of these"
)
_AT_RANDOM = "poisson"
_POINTS_MAX = 100_000
_BYTES_MAX = 16 * 1024 * 1024

Points = list[tuple[float, float]]


def parse(
    text: str, *, rate: float | None, usual_rate: float, duration_s: float | None, usual_s: float
) -> ArrivalProcess:
    """The process that is asked for, with the scenario's usual rate and length where none is given. ScheduleError."""
    shape, at_random = text, False
    if text == _AT_RANDOM or text.startswith(f"{_AT_RANDOM}+"):
        shape, at_random = text[len(_AT_RANDOM) + 1 :] or CONSTANT, True
    if rate is not None:
        check_rate(rate)
    if duration_s is not None:
        check_duration(duration_s)
    kind, _, rest = shape.partition(":")
    if kind in ("ramp", "step", "stages", "replay") and rate is not None:
        raise ScheduleError(f"rate: {kind} says the rates itself; leave the rate out, found {rate:g}")
    if kind == "stages" and duration_s is not None:
        raise ScheduleError(f"duration: stages says the lengths itself; leave the duration out, found {duration_s:g}")
    base, length_s = usual_rate if rate is None else rate, usual_s if duration_s is None else duration_s
    made: dict[str, Callable[[], Points]] = {
        CONSTANT: lambda: _constant(rest, base, length_s),
        "ramp": lambda: _ramp(rest, length_s),
        "step": lambda: _step(rest, length_s),
        "stages": lambda: _stages(rest),
        "spike": lambda: _spike(rest, base, length_s),
        "replay": lambda: _replay(Path(rest), duration_s),
    }
    if kind not in made:
        raise ScheduleError(f"arrival: expected {GRAMMAR}; found {text!r}")
    try:
        points = made[kind]()
    except ScheduleError as error:
        raise ScheduleError(f"arrival {text}: {error}") from None
    return check(ArrivalProcess(text=text, points=points, random=at_random))


def _constant(rest: str, rate: float, length_s: float) -> Points:
    if rest:
        raise ScheduleError(f"expected nothing behind {CONSTANT}, found {rest!r}")
    return [(0.0, rate), (length_s, rate)]


def _ramp(rest: str, length_s: float) -> Points:
    low, high = _range(rest, "two rates, ramp:50..500")
    return [(0.0, low), (length_s, high)]


def _step(rest: str, length_s: float) -> Points:
    rates = [_number(word, "rates, step:100,200,300") for word in rest.split(",")]
    return _held(((length_s * at / len(rates), rate) for at, rate in enumerate(rates)), length_s)


def _stages(rest: str) -> Points:
    """Straight lines from rate to rate, as k6's ramping-arrival-rate has them; of no length: a jump."""
    form = "a rate and how long it takes until it is reached, stages:100@0,500@30s"
    end_s = 0.0
    points: Points = [(0.0, 0.0)]
    for stage in rest.split(","):
        rate, found, length = stage.partition("@")
        if not found:
            raise ScheduleError(f"expected {form}; found {stage!r}")
        end_s += _seconds(length, form)
        if end_s == 0:
            points.clear()  # The rate that the load begins with, which is the warm-up's, too.
        points.append((end_s, _number(rate, form)))
    return points


def _spike(rest: str, base: float, length_s: float) -> Points:
    form = "a rate and from when to when it lasts, spike:2000@20..25 or spike:2000@1m..1m30s"
    peak, _, span = rest.partition("@")
    begin_s, end_s = _range(span, form, _seconds)
    if not 0 <= begin_s < end_s <= length_s:
        raise ScheduleError(f"expected seconds in order within 0..{length_s:g}, found {span}")
    return _held([(0.0, base), (begin_s, _number(peak, form)), (end_s, base)], length_s)


def _replay(path: Path, duration_s: float | None) -> Points:
    """What was recorded, or its first `duration_s`."""
    steps = _recorded_csv(path) if path.is_file() and path.suffix != ".json" else _recorded_load(path)
    if not 2 <= len(steps) <= _POINTS_MAX:
        raise ScheduleError(f"expected 2 to {_POINTS_MAX:,} seconds with a rate, found {len(steps)}")
    begin_s = steps[0][0]
    steps = [(second - begin_s, rate) for second, rate in steps]
    length_s = 2 * steps[-1][0] - steps[-2][0]
    if duration_s is not None and duration_s > length_s:
        raise ScheduleError(
            f"expected a duration of at most the {length_s:g} s that were recorded, found {duration_s:g}"
        )
    end_s = length_s if duration_s is None else duration_s
    return _held([step for step in steps if step[0] < end_s], end_s)


def _recorded_csv(path: Path) -> Points:
    if path.stat().st_size > _BYTES_MAX:
        raise ScheduleError(f"expected a file of at most {_BYTES_MAX:,} bytes")
    steps: Points = []
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            try:
                second, rate = map(float, row)
            except ValueError:
                if number == 1:
                    continue  # The columns' names.
                raise ScheduleError(f"line {number}: expected second,rate; found {','.join(row)[:60]!r}") from None
            if not math.isfinite(second) or (steps and second <= steps[-1][0]):
                raise ScheduleError(f"line {number}: expected a later second than before, found {second:g}")
            steps.append((second, rate))
    return steps


def _recorded_load(path: Path) -> Points:
    try:
        if path.is_dir():
            loads = RunFolder(path).loads()
            if len(loads) != 1:
                names = ", ".join(f"evidence/load/{load.scenario}.json" for load in loads) or "none"
                raise ScheduleError(f"expected the record of one load, found {names}")
            return _rates(loads[0])
        return _rates(read_record(path, Load))
    except EvidenceError as error:
        raise ScheduleError(f"expected a CSV file, a run folder or a load's record: {error}") from None


def _rates(load: Load) -> Points:
    """What was offered in each second: every operation counts where it was intended, however it ended."""
    offered = {(each.at_ns - load.begin_ns) // 1_000_000_000: each.ok + each.failed for each in load.seconds}
    return [(float(second), float(offered.get(second, 0))) for second in range(max(offered, default=-1) + 1)]


def _held(steps: Iterable[tuple[float, float]], end_s: float) -> Points:
    """Each rate holds until the next one's second."""
    points: Points = []
    for (begin_s, rate), (until_s, _) in pairwise([*steps, (end_s, 0.0)]):
        points += [(begin_s, rate), (until_s, rate)]
    return points


def _number(text: str, form: str) -> float:
    if (number := parse_number(text)) is None:
        raise ScheduleError(f"expected {form}; found {text!r}")
    return number


def _seconds(text: str, form: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ScheduleError(f"expected {form}: {error}") from None


def _range(text: str, form: str, read: Callable[[str, str], float] = _number) -> tuple[float, float]:
    low, found, high = text.partition("..")
    if not found:
        raise ScheduleError(f"expected {form}; found {text!r}")
    return read(low, form), read(high, form)
