"""How sure a number is: 95% intervals that assume no distribution.

A percentile's interval comes from order statistics (how many of n operations fall below the true percentile is
binomial), a share's is Wilson's. Both are honest with few samples: if n is too small for an upper end, the end is
infinite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import NormalDist, median

from reports.evidence import Latencies, percentile_ms

_Z = NormalDist().inv_cdf(0.975)


def percentile_interval_ms(latencies: Latencies, percent: float) -> tuple[float, float] | None:
    """The 95% interval of a percentile, in ms; None without operations. Normal approximation of the binomial:
    ranks n*p -/+ 1.96*sqrt(n*p*(1-p)), the upper one rounded up and one further."""
    total = latencies.samples + latencies.failed + latencies.unknown
    if total == 0:
        return None
    share = percent / 100
    spread = _Z * math.sqrt(total * share * (1 - share))
    low_rank = max(1, math.floor(total * share - spread))
    high_rank = math.ceil(total * share + spread) + 1
    # Half a rank lower: `percentile_ms` rounds up, and binary fractions must not push it to the next rank.
    low = percentile_ms(latencies, (low_rank - 0.5) / total * 100)
    high = percentile_ms(latencies, (high_rank - 0.5) / total * 100) if high_rank <= total else math.inf
    return (low or 0.0, math.inf if high is None else high)


def share_interval(good: int, total: int) -> tuple[float, float] | None:
    """Wilson's 95% interval of `good / total`; None if `total` is 0."""
    if total == 0:
        return None
    share = good / total
    centre = share + _Z**2 / (2 * total)
    spread = _Z * math.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2))
    scale = 1 + _Z**2 / total
    # The ends are exact where nothing or everything is good; binary fractions would miss them by a hair.
    return (0.0 if good == 0 else (centre - spread) / scale, 1.0 if good == total else (centre + spread) / scale)


def slope_interval(points: Sequence[tuple[float, float]]) -> tuple[float, float, float] | None:
    """(slope, low, high) of values against instants, 95%: Theil and Sen's median of all pairs' slopes, with Sen's
    interval from Kendall's statistic. None with fewer than three points, or if all have the same instant."""
    slopes = sorted(
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for earlier, later in combinations(sorted(points), 2)
        if later[0] > earlier[0]
    )
    n = len(points)
    if n < 3 or not slopes:
        return None
    return _middle(slopes, math.sqrt(n * (n - 1) * (2 * n + 5) / 18))


def shift_interval(before: Sequence[float], after: Sequence[float]) -> tuple[float, float, float] | None:
    """(shift, low, high) from one sample to another, 95%: Hodges and Lehmann's median of all differences, with the
    interval of Wilcoxon's rank sum. None if either sample is empty."""
    n, m = len(before), len(after)
    if not n or not m:
        return None
    differences = sorted(later - earlier for earlier in before for later in after)
    # Twice the deviation, since `_middle` puts half of the spread on either side, as Kendall's statistic wants it.
    return _middle(differences, 2 * math.sqrt(n * m * (n + m + 1) / 12))


def _middle(ordered: Sequence[float], deviation: float) -> tuple[float, float, float]:
    """(median, low, high) of ordered values. The ranks of `low` and `high` are 1.96 deviations apart; with too few
    values they are the first and the last."""
    spread = _Z * deviation
    low = max(0, math.floor((len(ordered) - spread) / 2) - 1)
    high = min(len(ordered) - 1, math.ceil((len(ordered) + spread) / 2))
    return median(ordered), ordered[low], ordered[high]


def bound_without_a_miss(runs: int) -> float:
    """The highest rate of misses (0 to 1) that `runs` runs without a miss leave possible at 95%; from 30 runs on it is
    near 3 / runs (rule of three)."""
    return 1.0 if runs <= 0 else 1 - 0.05 ** (1 / runs)
