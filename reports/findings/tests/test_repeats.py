"""Which tries are set aside: from literal samples of a machine, and whatever was measured meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from reports.evidence import Experiment, HostSample, Load, Operation, Proof, Rate, Second
from reports.findings.loaded import Trial
from reports.findings.repeats import cause, not_at_rest, of_experiment, of_loads
from reports.model import Bound
from reports.policy.policy import load_policy
from reports.tests.synthetic_run import latencies

POLICY = load_policy()
SECOND = 1_000_000_000
GATES = {
    "bus.publish_p99": Bound(op="<", value=50, unit="ms"),
    "bus.delivery_p99": Bound(op="<", value=10, unit="ms"),
    "bus.exactly_once": Bound(op="<=", value=0, unit="effects"),
}


def sample(second: int, **changes: Any) -> HostSample:
    quiet = HostSample(
        at_ns=second * SECOND, interval_s=1.0, busy=0.85, steal=0.0, foreign=0.0, timer_lag_ms=0.1, fsync_ms=1.0,
        by_kind={"nats": 0.8}, written_mib_s={"nats": 8.0, "postgres": 2.0, "foreign": 0.1},
    )  # fmt: skip
    return structs.replace(quiet, **changes)


def minute(*disturbed: HostSample) -> list[HostSample]:
    """A minute of samples, the first of them these, the others quiet."""
    return [*disturbed, *(sample(second) for second in range(len(disturbed) + 1, 61))]


def load(*, late_ms: float = 0.2, late_share: float = 0.02, **changes: Any) -> Load:
    late = round(1000 * late_share)
    made = Load(
        scenario="bus-ingest", begin_ns=1, end_ns=60 * SECOND, warmup_s=5, offered_per_s=1000, offered=1000, sent=1000,
        ok=1000, failed=0, unknown=0, schedule_lag=latencies([0.2] * (1000 - late) + [late_ms] * late).close(),
        operations=[Operation(name=name, latencies=latencies([3.0] * 10).close()) for name in GATES], seconds=[],
    )  # fmt: skip
    return structs.replace(made, **changes)


def of(samples: list[HostSample], made: Load | None = None) -> str | None:
    return of_loads([made or load()], samples, GATES, POLICY)


def test_a_busy_machine_that_nobody_else_uses_sets_nothing_aside() -> None:
    assert of(minute()) is None
    assert of([]) is None, "an excuse needs proof"


@pytest.mark.parametrize(
    ("disturbed", "why"),
    [
        ({"steal": 0.12}, "steal 12% of all cores"),
        ({"foreign": 0.15, "foreign_by": {"python3": 0.14}}, "other programs 15% of all cores (python3 14%)"),
        ({"steal": 0.06, "foreign": 0.06}, "steal 6%, other programs 6% of all cores"),
    ],
)
def test_cpu_that_others_took_sets_a_try_aside_and_is_named(disturbed: dict[str, Any], why: str) -> None:
    assert of([sample(second, **disturbed) for second in range(1, 61)]) == why


def test_bursts_of_others_set_a_try_aside_too() -> None:
    bursts = [sample(second, foreign=0.3) for second in range(1, 14)]
    assert of(minute(*bursts)) == "other programs above 25% of all cores 22% of the time"


def test_what_a_limit_of_our_own_or_late_timers_took_sets_nothing_aside() -> None:
    assert of([sample(second, throttled=0.4, timer_lag_ms=90, busy=0.3) for second in range(1, 61)]) is None


def test_what_happened_outside_of_the_window_does_not_matter() -> None:
    assert of([*minute(), *(sample(second, foreign=0.5) for second in range(62, 200))]) is None


# A late generator.


def test_a_generator_that_our_own_parts_made_late_is_not_excused() -> None:
    assert of(minute(), load(late_ms=40)) is None
    assert of([sample(second, foreign=0.08) for second in range(1, 61)], load(late_ms=40)) is None


def test_a_generator_is_excused_as_far_as_others_took_the_cpu() -> None:
    """Two of sixty seconds can hold 3% of the operations: 2% that were late are explained, 9% are not."""
    busy = [sample(second, foreign=0.4, foreign_by={"cc1": 0.4}) for second in (1, 2)]
    why = of(minute(*busy), load(late_ms=40, late_share=0.02))
    assert why == "bus-ingest was late while others took 40% of all cores (cc1 40%)"
    assert of(minute(*busy), load(late_ms=40, late_share=0.09)) is None
    assert of(minute(*busy), load()) is None, "one that kept its time needs no excuse"


def test_operations_that_were_never_sent_are_excused_to_the_same_share() -> None:
    busy = [sample(second, steal=0.4) for second in (1, 2)]
    assert of(minute(*busy), load(sent=970))
    assert of(minute(*busy), load(sent=900)) is None


# A slow disk.

SLOW = {"fsync_ms": 40.0}
"""Over half of what a publish may take."""


def test_a_disk_that_was_slow_while_we_wrote_no_more_than_ever_sets_a_try_aside() -> None:
    stalled = [sample(second, **SLOW, written_mib_s={"nats": 4.0}) for second in range(1, 10)]
    assert of(minute(*stalled)) == (
        "one fsync took 40.0 ms (p90; 50% of 50 ms is the limit) while the run wrote 4.0 MiB/s and other programs 0.0"
    )


def test_a_disk_that_was_slow_while_we_wrote_more_is_our_own_doing() -> None:
    checkpoint = [sample(second, **SLOW, written_mib_s={"nats": 8.0, "postgres": 60.0}) for second in range(1, 10)]
    assert of(minute(*checkpoint)) is None


def test_a_disk_that_was_always_slow_is_no_disturbance_unless_others_wrote_to_it() -> None:
    assert of([sample(second, **SLOW) for second in range(1, 61)]) is None
    others = {"nats": 8.0, "foreign": 90.0}
    assert of([sample(second, **SLOW, written_mib_s=others) for second in range(1, 61)])


def test_a_slow_disk_excuses_nothing_where_nothing_waits_for_it_or_nothing_is_known_of_writes() -> None:
    stalled = [sample(second, **SLOW, written_mib_s={"nats": 4.0}) for second in range(1, 10)]
    reads = load(operations=[Operation(name="bus.delivery_p99", latencies=latencies([3.0]).close())])
    assert of(minute(*stalled), reads) is None
    assert of([structs.replace(each, written_mib_s={}) for each in minute(*stalled)]) is None


# Experiments.


def trial(**changes: Any) -> Trial:
    record = Experiment(
        id="pg-primary-kill", title="", target="", begin_ns=1, end_ns=60 * SECOND, fault_ns=10 * SECOND, healed=True,
        steady_after=True, slo={"read": 100_000, "write": 1_000_000},
        proofs=[Proof(at_ns=1, what="", expected="", found="", proven=True)],
    )  # fmt: skip
    return Trial(name="pg-primary-kill", record=structs.replace(record, **changes))


BUSY = [sample(second, foreign=0.5) for second in range(1, 61)]


def test_whether_a_fault_was_proven_decides_nothing() -> None:
    unproven = [Proof(at_ns=1, what="", expected="", found="", proven=False)]
    for proofs in ([], unproven, trial().record.proofs):
        assert of_experiment(trial(proofs=proofs), minute(), POLICY) is None
        assert of_experiment(trial(proofs=proofs), BUSY, POLICY) == "other programs 50% of all cores"


def test_only_what_follows_the_fault_disturbs_an_experiment() -> None:
    before = [sample(second, foreign=0.9) for second in range(1, 10)]
    assert of_experiment(trial(), minute(*before), POLICY) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"healed": False}, "healed"), ({"healed": None}, "healed"), ({"steady_after": False}, "steady"),
        ({"steady_after": None}, "steady"),
    ],
)  # fmt: skip
def test_an_experiment_is_begun_again_only_from_a_healed_and_steady_system(changes: dict[str, Any], why: str) -> None:
    assert why in (not_at_rest(trial(**changes)) or "")
    assert not_at_rest(trial()) is None
    assert not_at_rest(None)


# Whatever was measured.

milliseconds = st.floats(0.1, 5000)
measured = st.fixed_dictionaries(
    {
        "ok": st.integers(0, 1000), "failed": st.integers(0, 1000), "unknown": st.integers(0, 1000),
        "rates": st.lists(st.builds(Rate, name=st.just("bus.throughput"), offered=st.just(9), completed=st.just(1))),
        "seconds": st.lists(
            st.builds(Second, at_ns=st.integers(1, 60 * SECOND), ok=st.integers(0, 9), failed=st.integers(0, 9),
                      p50_ms=milliseconds, p99_ms=milliseconds), max_size=3),
        "ended_early": st.sampled_from(["", "a gate could not hold"]),
        "requests": st.booleans(),
    }
)  # fmt: skip
machines = st.lists(
    st.fixed_dictionaries(
        {
            "steal": st.sampled_from([0.0, 0.05, 0.3]), "foreign": st.sampled_from([0.0, 0.05, 0.3]),
            "fsync_ms": st.sampled_from([1.0, 40.0]),
            "written_mib_s": st.sampled_from([{"nats": 4.0}, {"foreign": 9.0}]),
        }
    ),
    min_size=1, max_size=20,
)  # fmt: skip


@given(machines, measured, st.lists(milliseconds, min_size=1, max_size=5), st.integers(0, 1000))
def test_what_was_measured_never_decides(
    machine: list[dict[str, Any]], found: dict[str, Any], times_ms: list[float], failed: int
) -> None:
    """A try that passed by far and one that missed everything are set aside alike."""
    samples = [sample(second, **each) for second, each in enumerate(machine, 1)]
    operations = [Operation(name=name, latencies=latencies(times_ms, failed).close()) for name in GATES]
    for late_ms in (0.2, 40.0):
        good = load(late_ms=late_ms)
        missed = structs.replace(good, **found, operations=operations)
        assert of(samples, missed) == of(samples, good)


@given(machines)
def test_a_phase_without_a_load_is_set_aside_by_the_cpu_alone(machine: list[dict[str, Any]]) -> None:
    samples = [sample(second, **each, throttled=0.9) for second, each in enumerate(machine, 1)]
    calm = [structs.replace(each, steal=0.0, foreign=0.0) for each in samples]
    assert cause(calm, (), {}, None, POLICY) is None
    assert "fsync" not in (cause(samples, (), {}, None, POLICY) or "")
