"""When a machine was too disturbed for a miss to count."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from reports.evidence import HostSample
from reports.findings.host import OUTSIDE, cpu_taken, disturbance, percentile, summary, within
from reports.policy.policy import load_policy

LIMITS = load_policy().host
SECOND = 1_000_000_000


def sample(second: int = 1, **changes: Any) -> HostSample:
    quiet = HostSample(
        at_ns=second * SECOND, interval_s=1.0, busy=0.5, steal=0.0, foreign=0.0, timer_lag_ms=0.1, fsync_ms=0.3
    )
    return msgspec.structs.replace(quiet, **changes)


def test_a_quiet_machine_excuses_nothing() -> None:
    assert disturbance([sample()] * 30, 100, True, LIMITS) is None


def test_without_samples_nothing_is_excused() -> None:
    assert disturbance([], 100, True, LIMITS) is None


def test_steal_is_named_with_its_share() -> None:
    cause = disturbance([sample(busy=0.8, steal=0.22)] * 30, 100, False, LIMITS)
    assert cause is not None
    assert "steal 22%" in cause


def test_steal_and_other_programs_add_up() -> None:
    assert disturbance([sample(steal=0.06, foreign=0.06)] * 30, 100, False, LIMITS)
    assert disturbance([sample(steal=0.06)] * 30, 100, False, LIMITS) is None


def test_throttling_by_a_cpu_limit_is_named_with_its_share() -> None:
    cause = disturbance([sample(throttled=0.3, allowed=0.5)] * 30, 100, False, LIMITS)
    assert cause == "the CPU limit of the container or service 30% of all cores"
    assert disturbance([sample(throttled=0.04, allowed=0.5)] * 30, 100, False, LIMITS) is None


def test_a_run_that_used_what_its_cpu_limit_allows_has_no_excuse_in_late_timers() -> None:
    """A fifth of all cores, yet nearly all that it may have: the late timers are its own."""
    late = sample(timer_lag_ms=600, busy=0.2)
    assert disturbance([late] * 30, 1000, False, LIMITS)
    assert disturbance([msgspec.structs.replace(late, allowed=0.25)] * 30, 1000, False, LIMITS) is None


def test_summary_has_the_share_that_was_held_back() -> None:
    held_back = summary([sample(throttled=0.2), sample(second=2)])
    assert held_back is not None
    assert held_back.throttled == pytest.approx(0.1)
    assert held_back.worst.throttled == 0.2


def test_bursts_count_although_the_mean_is_low() -> None:
    bursts = [sample(foreign=0.3)] * 7 + [sample()] * 23
    cause = disturbance(bursts, 100, False, LIMITS)
    assert cause is not None
    assert "above 25% of all cores 23% of the time" in cause
    assert disturbance([sample(foreign=0.3)] * 5 + [sample()] * 25, 100, False, LIMITS) is None


def test_late_timers_count_by_the_target_of_the_row() -> None:
    late = [sample(timer_lag_ms=600, busy=0.4)] * 30
    assert disturbance(late, 1000, False, LIMITS)
    assert disturbance(late, 10_000, False, LIMITS) is None
    assert disturbance(late, None, False, LIMITS) is None


def test_timers_that_the_run_itself_may_have_made_late_are_no_excuse() -> None:
    """An API that stalls both cores for 60 ms each second uses 6% of them, and timers are 60 ms late."""
    assert disturbance([sample(timer_lag_ms=60, busy=0.06)] * 30, 100, False, LIMITS) is None
    assert disturbance([sample(timer_lag_ms=60, busy=0.05)] * 30, 100, False, LIMITS)
    by_kind = {"nats": 0.03, "api": 0.02}
    ours = msgspec.structs.replace(sample(timer_lag_ms=60, busy=0.95), by_kind=by_kind)
    assert disturbance([ours] * 30, 100, False, LIMITS), "what others used of the machine is not the run's own"


def test_a_slow_disk_counts_only_for_what_waits_for_it() -> None:
    slow = [msgspec.structs.replace(sample(fsync_ms=30), written_mib_s={"foreign": 40.0, "postgres": 1.0})] * 30
    assert disturbance(slow, 50, True, LIMITS)
    assert disturbance(slow, 50, False, LIMITS) is None
    assert disturbance(slow, 100, True, LIMITS) is None


def test_a_disk_that_the_run_s_own_writes_keep_busy_is_no_excuse() -> None:
    """A system that writes so much that fsync takes 40 ms is slow by itself."""
    own = [msgspec.structs.replace(sample(fsync_ms=40), written_mib_s={"foreign": 1.0, "postgres": 60.0})] * 30
    assert disturbance(own, 50, True, LIMITS) is None
    assert disturbance([sample(fsync_ms=40)] * 30, 50, True, LIMITS) is None, "nothing is known of the writes"


def test_only_samples_of_the_window_count() -> None:
    samples = [sample(second) for second in range(1, 11)]
    inside = within(samples, round(3.5 * SECOND), round(5.5 * SECOND))
    assert [entry.at_ns // SECOND for entry in inside] == [4, 5, 6]


def test_a_percentile_is_the_nearest_rank() -> None:
    assert percentile([5, 1, 3], 50) == 3
    assert percentile(list(range(1, 101)), 95) == 95
    assert percentile([7], 1) == 7
    with pytest.raises(ValueError, match="at least one value"):
        percentile([], 50)


def test_the_summary_finds_the_worst_interval() -> None:
    result = summary([sample(1), sample(2, steal=0.4), sample(3)])
    assert result is not None
    assert result.worst.at_ns == 2 * SECOND
    assert result.steal == pytest.approx(0.4 / 3)
    assert summary([]) is None


def test_foreign_programs_are_named_by_their_mean_share() -> None:
    busy = [
        sample(foreign=0.5, foreign_by={"python3": 0.4, "cron": 0.01}),
        sample(foreign=0.5, foreign_by={"cc1": 0.5}),
    ]
    cause = disturbance(busy, 100, False, LIMITS)
    assert cause == "other programs 50% of all cores (cc1 25%, python3 20%)"


def test_a_cpu_limit_of_our_own_is_not_outside() -> None:
    assert cpu_taken([sample(throttled=0.3)] * 30, LIMITS)
    assert cpu_taken([sample(throttled=0.3)] * 30, LIMITS, OUTSIDE) is None
    assert cpu_taken([sample(steal=0.3)] * 30, LIMITS, OUTSIDE) == "steal 30% of all cores"
