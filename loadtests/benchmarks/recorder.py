"""Whether percentiles of merged histograms are those of the raw data, and whether a day's recording stays in memory.

    .venv/bin/python -m loadtests.benchmarks.recorder [--values 10000000] [--processes 4]

Each process records its share of the values, which span seven decades, and keeps them; its histograms are merged in
several orders and their percentiles compared with the raw data's, whole. Then a day of a load is recorded, a simulated
second at a time, and what the recording process takes is measured at every tenth of it.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from array import array
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil

from reports.evidence import Latencies, Recorder, merge, percentile_ms

_PERCENTS = (0.1, 1, 10, 25, 50, 75, 90, 95, 99, 99.9, 99.99, 99.999, 100)
_PRECISION = 0.001
"""Three significant digits."""
_ROUNDING_US = 1.0
_DAY_S = 86_400
_RATE = 20
"""Values in each simulated second of the day."""
_GROWTH_MIB_MAX = 1.0
_MIB = 1024 * 1024


def _record(seed: int, count: int, raw: str) -> Latencies:
    """Record so many values, log-uniform from 1 us to 10 s, and leave them in the file `raw`."""
    dice = random.Random(seed)
    recorder = Recorder()
    values = array("Q")
    for _ in range(count):
        value = round(10 ** dice.uniform(0, 7))
        values.append(value)
        recorder.record_us(value)
    with Path(raw).open("wb") as file:
        values.tofile(file)
    return recorder.close()


def percentiles(total: int, processes: int) -> float:
    """Print each percentile beside the raw data's; the worst relative difference."""
    with tempfile.TemporaryDirectory(prefix="covenant-benchmark-") as scratch:
        files = [str(Path(scratch) / f"{number}.raw") for number in range(processes)]
        shares = [total // processes + (number < total % processes) for number in range(processes)]
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=context) as pool:
            parts = list(pool.map(_record, range(processes), shares, files))
        raw = array("Q")
        for name in files:
            raw.frombytes(Path(name).read_bytes())
    ordered = sorted(raw)
    orders = [merge(order) for order in itertools.islice(itertools.permutations(parts), 24)]
    if any(each != orders[0] for each in orders):
        raise SystemExit("expected the same histogram in any order of merging, found another one")
    worst = 0.0
    print(f"{total:,} values of {processes} processes, merged in {len(orders)} orders, all alike")
    for percent in _PERCENTS:
        rank = max(1, -(-round(percent * 1000) * total // 100_000))
        exact_us, found_ms = ordered[rank - 1], percentile_ms(orders[0], percent)
        assert found_ms is not None, "there are values"
        apart = max(0.0, abs(found_ms * 1000 - exact_us) - _ROUNDING_US) / exact_us
        worst = max(worst, apart)
        print(f"p{percent:<8g}{exact_us:>12,} us raw{found_ms * 1000:>16,.0f} us merged   {apart:.4%} apart")
    return worst


def day() -> float:
    """Record a day, and print what the process takes meanwhile; the growth from the first tenth on, MiB."""
    recorder, dice, process = Recorder(), random.Random(1), psutil.Process()
    sizes: list[float] = []
    begin = time.perf_counter()
    for second in range(_DAY_S):
        for _ in range(_RATE):
            recorder.record_us(round(10 ** dice.uniform(1, 6.5)))
        if (second + 1) % (_DAY_S // 10) == 0:
            sizes.append(process.memory_info().rss / _MIB)
    took_us = (time.perf_counter() - begin) / (_DAY_S * _RATE) * 1e6
    print(f"a day of {_RATE} values a second: resident {', '.join(f'{size:.1f}' for size in sizes)} MiB")
    print(f"{took_us:.1f} us a value; at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB ever")
    return sizes[-1] - sizes[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--values", type=int, default=10_000_000)
    parser.add_argument("--processes", type=int, default=4)
    options = parser.parse_args()
    growth_mib = day()
    worst = percentiles(options.values, options.processes)
    if worst > _PRECISION or growth_mib > _GROWTH_MIB_MAX:
        sys.exit(
            f"expected at most {_PRECISION:.1%} apart and {_GROWTH_MIB_MAX:g} MiB of growth,"
            f" found {worst:.3%} and {growth_mib:.1f} MiB"
        )


if __name__ == "__main__":
    main()
