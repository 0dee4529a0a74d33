"""How sure a number is: 95% intervals that assume no distribution.

A percentile's interval comes from order statistics (how many of n operations fall below the true percentile is
binomial), a share's is Wilson's. Both are honest with few samples: where n is too small for an upper end there
is none (infinite), and nothing is ever narrower than the samples allow.
"""

from __future__ import annotations

import math
from statistics import NormalDist

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
    # Half a rank lower, so that rounding up to a rank cannot be pushed to the next one by binary fractions.
    low = percentile_ms(latencies, (low_rank - 0.5) / total * 100)
    high = percentile_ms(latencies, (high_rank - 0.5) / total * 100) if high_rank <= total else math.inf
    return (low or 0.0, math.inf if high is None else high)


def share_interval(good: int, total: int) -> tuple[float, float] | None:
    """Wilson's 95% interval of `good / total`; None without any."""
    if total == 0:
        return None
    share = good / total
    centre = share + _Z**2 / (2 * total)
    spread = _Z * math.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2))
    scale = 1 + _Z**2 / total
    # The ends are exact where nothing or everything is good; binary fractions would miss them by a hair.
    return (0.0 if good == 0 else (centre - spread) / scale, 1.0 if good == total else (centre + spread) / scale)


def bound_without_a_miss(runs: int) -> float:
    """The highest rate of misses that `runs` clean runs leave possible at 95%; near 3 / runs from 30 runs on
    (rule of three)."""
    return 1.0 if runs <= 0 else 1 - 0.05 ** (1 / runs)
