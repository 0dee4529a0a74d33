"""What the engines report, added to Locust's own statistics, for its page, its console and its CSV files.

Locust's totals are to say what the verdict says, within Locust's rounding: so the warm-up is shown while it goes on
and then forgotten, and a rate counts from the first instant of the measured window. Entries and the total are extended
apart, since a Locust worker ships both to its master.
"""

from __future__ import annotations

from locust.stats import RequestStats, StatsEntry, StatsError

from loadtests.recording.live import Stat


class Shown:
    """Locust's statistics of one run."""

    def __init__(self, stats: RequestStats) -> None:
        self._stats = stats
        self._measuring = False

    def add(self, stat: Stat, now_s: float, measured_s: float) -> None:
        """Add what an engine reported at `now_s`; the measured window began or begins at `measured_s`. Both are seconds
        since the epoch, as Locust counts time."""
        if stat.warmup and self._measuring:
            return  # A straggler.
        if not stat.warmup and not self._measuring:
            self._measuring = True
            self._stats.reset_all()
        seen = self._entry(stat, now_s)
        if not stat.warmup:
            seen.start_time = measured_s
        entry, total = self._stats.get(stat.name, stat.method), self._stats.total
        for each in (entry, total):
            if each.num_requests == 0:
                each.start_time = seen.start_time
            each.extend(seen)
        self._add_errors(stat, now_s)

    def _entry(self, stat: Stat, now_s: float) -> StatsEntry:
        count, failed = sum(stat.response_times_ms.values()), sum(stat.errors.values())
        seen = StatsEntry(self._stats, stat.name, stat.method)
        seen.num_requests, seen.num_failures = count, failed
        # It says that these are whole numbers; its own users give it fractions as well.
        seen.total_response_time = stat.total_ms  # type: ignore[assignment]
        seen.min_response_time = stat.min_ms  # type: ignore[assignment]
        seen.max_response_time = stat.max_ms  # type: ignore[assignment]
        seen.response_times.update(stat.response_times_ms)
        seen.num_reqs_per_sec[int(now_s)] = count
        seen.num_fail_per_sec[int(now_s)] = failed
        seen.last_request_timestamp = now_s
        return seen

    def _add_errors(self, stat: Stat, now_s: float) -> None:
        for text, occurrences in stat.errors.items():
            key = StatsError.create_key(stat.method, stat.name, text)
            error = self._stats.errors.setdefault(key, StatsError(stat.method, stat.name, text, first_seen=now_s))
            error.occurrences += occurrences
            error.last_seen = now_s
