"""Whether the machine was disturbed while something was measured, by its samples and the policy's limits. Pure.

A miss that a noisy neighbour caused says nothing about the system. But an excuse needs proof as much as a miss does:
without samples nothing is excused, and what the run itself used of the machine is no disturbance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median

from reports.evidence import FOREIGN, HostSample
from reports.model import HostResult
from reports.policy.policy import HostLimits


def percentile(values: Sequence[float], percent: float) -> float:
    """The value at or below which `percent` (0 to 100) of the values lie, by nearest rank. ValueError without
    values."""
    if not values:
        raise ValueError("expected at least one value")
    return sorted(values)[max(1, math.ceil(round(percent * len(values) / 100, 6))) - 1]


_TAKERS = {"steal": "steal", "foreign": "other programs", "throttled": "the CPU limit of the container or service"}
"""Field of a sample -> who took CPU from the run, in words."""
OUTSIDE = ("steal", "foreign")
"""Those of them that are neither the run's own use nor its own limit."""
_NAMED_FROM = 0.02
"""The mean share of all cores from which on a foreign program is named."""


def taken(sample: HostSample, takers: Iterable[str] = tuple(_TAKERS)) -> float:
    """The share of all cores that these fields of a sample took."""
    return math.fsum(getattr(sample, name) for name in takers)


def _own(sample: HostSample) -> float:
    """The share of the cores that the run may use, which the system and the harness used."""
    used = sum(sample.by_kind.values()) if sample.by_kind else max(0.0, sample.busy - sample.steal - sample.foreign)
    return used / sample.allowed


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def within(samples: Sequence[HostSample], begin_ns: int, end_ns: int) -> list[HostSample]:
    """The samples whose interval overlaps the window; a sample's instant is its interval's end."""
    return [
        sample
        for sample in samples
        if sample.at_ns >= begin_ns and sample.at_ns - round(sample.interval_s * 1e9) <= end_ns
    ]


def bursts(samples: Sequence[HostSample], limits: HostLimits, takers: Iterable[str] = tuple(_TAKERS)) -> float:
    """The share of `samples` (at least one) in which the takers took so much that a p99 feels it."""
    return _mean([taken(sample, takers) > limits.taken_peak for sample in samples])


def cpu_taken(
    samples: Sequence[HostSample], limits: HostLimits, takers: Iterable[str] = tuple(_TAKERS)
) -> str | None:  # fmt: skip
    """Who took more CPU from the run during `samples` than it can bear, and how much, in words; None if nobody did."""
    if not samples:
        return None
    mean, often = _mean([taken(sample, takers) for sample in samples]), bursts(samples, limits, takers)
    shares = {_TAKERS[name]: _mean([getattr(sample, name) for sample in samples]) for name in takers}
    if mean > limits.taken_mean_max:
        named = [f"{taker} {share:.0%}" for taker, share in shares.items() if share >= 0.005]
        return f"{', '.join(named)} of all cores{programs(samples)}"
    if often > limits.taken_peak_share_max:
        named = [taker for taker, share in shares.items() if share > 0]
        peak = f"{limits.taken_peak:.0%} of all cores {often:.0%} of the time"
        return f"{' and '.join(named)} above {peak}{programs(samples)}"
    return None


def programs(samples: Sequence[HostSample]) -> str:
    """` (python3 48%)`: the foreign programs that used CPU during `samples`; empty if none is known by name."""
    names = {name for sample in samples for name in sample.foreign_by}
    shares = {name: _mean([sample.foreign_by.get(name, 0.0) for sample in samples]) for name in names}
    largest = sorted((name for name in names if shares[name] >= _NAMED_FROM), key=lambda name: (-shares[name], name))
    return f" ({', '.join(f'{name} {shares[name]:.0%}' for name in largest)})" if largest else ""


def disturbance(
    samples: Sequence[HostSample], target_ms: float | None, waits_for_disk: bool, limits: HostLimits
) -> str | None:
    """What disturbed the machine from outside during `samples`, in words; None if nothing did, or nothing is known.

    `target_ms` is the row's gate; None if the gate is not a time. `waits_for_disk`: the measured time includes an
    fsync.
    """
    if not samples:
        return None
    causes = [cause] if (cause := cpu_taken(samples, limits)) else []
    if target_ms is not None and not causes:
        disk_ms = target_ms if waits_for_disk else None
        causes += filter(None, (_late_timers(samples, target_ms, limits), slow_disk(samples, disk_ms, limits)))
    return "; ".join(causes) or None


def _late_timers(samples: Sequence[HostSample], target_ms: float, limits: HostLimits) -> str | None:
    """How late timers were in the intervals that the run's own use of the CPU does not explain; None if they were not.

    A timer is late while all cores are busy. So the run itself may have made it as late as all cores could be kept busy
    with what it used in that interval, all of it in one burst.
    """
    late = [
        0.0 if _own(sample) * sample.interval_s * 1000 >= sample.timer_lag_ms else sample.timer_lag_ms
        for sample in samples
    ]
    lag_ms, limit_ms = percentile(late, 95), limits.timer_lag_share_max * target_ms
    if lag_ms <= limit_ms:
        return None
    return (
        f"timers were {lag_ms:.1f} ms late (p95; {limits.timer_lag_share_max:.0%} of {target_ms:g} ms is the limit),"
        " longer than the run itself could keep all cores busy with what it used"
    )


def slow_disk(samples: Sequence[HostSample], disk_ms: float | None, limits: HostLimits) -> str | None:
    """How slow the disk was in the seconds that the run's own writes do not explain; None if it was not."""
    if disk_ms is None or not samples:
        return None
    limit_ms = limits.fsync_share_max * disk_ms
    fast = [_own_mib_s(sample) for sample in samples if sample.fsync_ms <= limit_ms]
    usual = median(fast) if fast else None
    unexplained = [sample for sample in samples if sample.fsync_ms > limit_ms and not _explained_by_us(sample, usual)]
    times = [sample.fsync_ms for sample in unexplained] + [0.0] * (len(samples) - len(unexplained))
    slow_ms = percentile(times, 90)
    if slow_ms <= limit_ms:
        return None
    own, foreign = _mean([*map(_own_mib_s, unexplained)]), _mean([*map(_foreign_mib_s, unexplained)])
    return (
        f"one fsync took {slow_ms:.1f} ms (p90; {limits.fsync_share_max:.0%} of {disk_ms:g} ms is the limit) while the"
        f" run wrote {own:.1f} MiB/s and other programs {foreign:.1f}"
    )


def _own_mib_s(sample: HostSample) -> float:
    return sum(mib_s for kind, mib_s in sample.written_mib_s.items() if kind != FOREIGN)


def _foreign_mib_s(sample: HostSample) -> float:
    return sample.written_mib_s.get(FOREIGN, 0.0)


def _explained_by_us(sample: HostSample, usual_mib_s: float | None) -> bool:
    """Whether the run's own writes may be why the disk was slow: it wrote most of what was written, and more than in
    the seconds in which the disk was fast. Where nothing is known of the writes, they may."""
    if not sample.written_mib_s:
        return True
    own = _own_mib_s(sample)
    return own > 0 and own >= _foreign_mib_s(sample) and (usual_mib_s is None or own > usual_mib_s)


def summary(samples: Sequence[HostSample]) -> HostResult | None:
    """The machine over all samples; None without any."""
    if not samples:
        return None
    return HostResult(
        samples=len(samples),
        busy=_mean([sample.busy for sample in samples]),
        steal=_mean([sample.steal for sample in samples]),
        foreign=_mean([sample.foreign for sample in samples]),
        timer_lag_p95_ms=percentile([sample.timer_lag_ms for sample in samples], 95),
        fsync_p90_ms=percentile([sample.fsync_ms for sample in samples], 90),
        worst=max(samples, key=taken),
        throttled=_mean([sample.throttled for sample in samples]),
    )
