"""A soak's hours fit into its page, and no value is lost on the way to the picture."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reports.evidence import HostSample, Load, Recorder, Second
from reports.findings.loaded import Evidence
from reports.policy.claims import load_claims
from reports.policy.policy import load_policy
from reports.render.html import LIMIT_BYTES, to_html
from reports.render.thinning import grouped
from reports.tests.synthetic_run import START, Story, run_record
from reports.verdict.verdict import judge

SECOND = 1_000_000_000


@given(st.lists(st.integers(), max_size=300), st.integers(1, 50))
def test_all_values_are_there_in_order_in_groups_that_differ_by_one_at_most(values: list[int], most: int) -> None:
    groups = list(grouped(values, most))
    assert [value for group in groups for value in group] == values
    assert len(groups) == min(most, len(values))
    lengths = {len(group) for group in groups}
    assert 0 not in lengths
    assert max(lengths, default=0) - min(lengths, default=0) <= 1


def test_a_soak_of_a_day_fits_into_its_page() -> None:
    length_s = 24 * 3600
    nothing = Recorder().close()
    seconds = [
        Second(at_ns=START + n * SECOND, ok=30, failed=0, p50_ms=5.0, p99_ms=20.0 + n % 13) for n in range(length_s)
    ]
    load = Load(
        scenario="soak", begin_ns=START, end_ns=START + length_s * SECOND, warmup_s=60, offered_per_s=30, offered=1,
        sent=1, ok=1, failed=0, unknown=0, schedule_lag=nothing, operations=[], seconds=seconds,
    )  # fmt: skip
    host = [
        HostSample(at_ns=second.at_ns, interval_s=1.0, busy=0.4, steal=0, foreign=0.01, timer_lag_ms=0.2, fsync_ms=0.3)
        for second in seconds
    ]
    evidence = Evidence(run=run_record(Story(profile="soak")), loads=[load], host=host)
    page = to_html(judge(evidence, load_claims(), load_policy()), evidence)
    assert len(page.encode()) < LIMIT_BYTES
    assert "worst p99 of 80 s, ms" in page
