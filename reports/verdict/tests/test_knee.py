"""A try's outcome, the verdict of a search, and what the documents show of it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

import reports
from reports.evidence import (
    SCHEMA,
    HostSample,
    Knee,
    KneeEnd,
    KneeStep,
    Load,
    Operation,
    RunFolder,
    StepLatency,
    StepOutcome,
    StepRow,
)
from reports.findings.loaded import Evidence
from reports.model import Document, Report, Verdict
from reports.render.text import to_text
from reports.tests.spoilt_run import POLICY, report_of
from reports.tests.synthetic_run import SECOND, START, Story, latencies, run_record, write_run
from reports.verdict import knee


def _evidence(
    *, p99_ms: float = 20.0, lag_ms: float = 0.2, steal: float = 0.0, operations: int = 2000, ok: int = 6000
) -> Evidence:
    """A try of api-browse at 600/s for 10 s, every read of which took p99_ms in every region."""
    regions = ["iad", "ams", "syd"]
    reads = latencies([p99_ms] * operations).close()
    load = Load(
        scenario="api-browse", begin_ns=START, end_ns=START + 10 * SECOND, warmup_s=0.0, offered_per_s=600.0,
        offered=6000, sent=6000, ok=ok, failed=6000 - ok, unknown=0, schedule_lag=latencies([lag_ms] * 6000).close(),
        operations=[Operation(name="api.read_p99", region=region, latencies=reads) for region in regions],
        seconds=[], requests=True,
    )  # fmt: skip
    samples = [
        HostSample(
            at_ns=START + second * SECOND, interval_s=1.0, busy=0.8, steal=steal, foreign=0.0, timer_lag_ms=0.2,
            fsync_ms=0.5, by_kind={"api": 0.5, "load": 0.2 + second / 100},
        )
        for second in range(1, 11)
    ]  # fmt: skip
    run = msgspec.structs.replace(run_record(Story(profile="knee.api-browse", experiments=[])), regions=regions)
    return Evidence(run=run, loads=[load], host=samples)


def _judged(evidence: Evidence) -> Report:
    return report_of(evidence)


def _step(evidence: Evidence) -> KneeStep:
    return knee.step("api-browse", 600.0, "evidence/knee/api-browse/01", evidence, _judged(evidence), POLICY)


def test_a_try_in_which_every_gate_held() -> None:
    step = _step(_evidence())
    assert (step.outcome, step.why) == ("held", "")
    assert (step.offered_per_s, step.achieved_per_s) == (600.0, 600.0)
    assert [(row.id, row.verdict) for row in step.rows] == [
        ("api.read_p99.iad", "PASS"), ("api.read_p99.ams", "PASS"), ("api.read_p99.syd", "PASS"),
        ("harness.honesty", "PASS"),
    ]  # fmt: skip
    read = step.latencies[0]
    assert (read.row, read.p99_ms, read.gate_ms, read.samples) == ("api.read_p99.iad", 20.015, 100.0, 2000)
    assert step.busy == pytest.approx(0.8)
    assert step.by_kind == pytest.approx({"api": 0.5, "load": 0.255})


@pytest.mark.parametrize(
    ("wrong", "outcome", "why"),
    [
        ({"p99_ms": 120.0}, "missed", "api.read_p99.iad, api.read_p99.ams, api.read_p99.syd: p99 of 2,000 operations"),
        ({"lag_ms": 30.0}, "late", "late itself"),
        ({"p99_ms": 120.0, "lag_ms": 30.0}, "late", "late itself"),
        ({"p99_ms": 120.0, "steal": 0.4}, "disturbed", "the host was disturbed"),
        ({"lag_ms": 30.0, "steal": 0.4}, "disturbed", "the host was disturbed"),
        ({"operations": 500}, "inconclusive", "500 samples of the 1,000"),
    ],
)
def test_why_a_try_did_not_hold(wrong: dict[str, float], outcome: str, why: str) -> None:
    step = _step(_evidence(**wrong))  # type: ignore[arg-type]
    assert step.outcome == outcome
    assert why in step.why


def test_a_percentile_among_failed_operations_has_no_point() -> None:
    evidence = _evidence()
    failed = latencies([20.0] * 1000)
    failed.failed = 500
    operations = [msgspec.structs.replace(each, latencies=failed.close()) for each in evidence.loads[0].operations]
    evidence.loads = [msgspec.structs.replace(evidence.loads[0], operations=operations)]
    step = _step(evidence)
    assert step.outcome == "missed"
    assert (step.latencies[0].p50_ms, step.latencies[0].p99_ms) == (20.015, None)
    assert step.rows[0].measured is None


def _knee(end: KneeEnd | None, held: float | None = 600.0, missed: float | None = 650.0) -> Knee:
    def step(rate: float, ms: float, outcome: str) -> KneeStep:
        row = StepRow(id="api.read_p99.iad", measured=ms, unit="ms", gate="< 100 ms", verdict="PASS")
        found = StepLatency(row="api.read_p99.iad", p50_ms=ms / 3, p99_ms=ms, samples=2000, gate_ms=100.0)
        return KneeStep(
            rate=rate, folder="evidence/knee/api-browse/01", begin_ns=0, end_ns=1, outcome=outcome,  # type: ignore[arg-type]
            why="" if outcome == "held" else "the read was slow", rows=[row], latencies=[found], busy=0.9,
            by_kind={"api": 0.5},
        )  # fmt: skip

    steps = [step(300.0, 10.0, "held"), step(600.0, 60.0, "held"), step(650.0, 150.0, "missed")]
    return Knee(
        scenario="api-browse", unit="requests/s", step_s=15.0, resolution=0.1, held=held, missed=missed, end=end,
        steps=steps,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("end", "held", "missed", "verdict", "said"),
    [
        ("found", 600.0, 650.0, "PASS", "lies from 600 to 650 requests/s"),
        ("late", 600.0, 650.0, "INVALID", "is the generator's"),
        ("above", 600.0, None, "INCONCLUSIVE", "raise --to"),
        ("below", None, 10.0, "FAIL", "even 10 requests/s missed a gate"),
        ("disturbed", 600.0, None, "INVALID", "stayed disturbed; 600 requests/s held"),
        ("inconclusive", None, None, "INCONCLUSIVE", "take a longer --duration"),
        ("failed", 600.0, None, "INVALID", "could not be made"),
        ("tries", 600.0, 900.0, "INCONCLUSIVE", "within 3 tries"),
        (None, 600.0, None, "INCONCLUSIVE", "interrupted; 600 requests/s held"),
    ],
)
def test_what_a_search_says_of_itself(
    end: KneeEnd | None, held: float | None, missed: float | None, verdict: Verdict, said: str
) -> None:
    found, says = knee.verdict(_knee(end, held, missed))
    assert found == verdict
    assert said in says


@pytest.mark.parametrize(
    ("outcome", "why", "verdict", "said"),
    [
        ("held", "", "PASS", "; at 480 every gate held (api.read_p99.iad 10 ms)"),
        ("missed", "it was slow", "FAIL", "; at 480 a gate was missed: it was slow; who used the cores: api 50%"),
        ("late", "it was late", "PASS", "; at 480 nothing is known: it was late"),
    ],
)
def test_what_is_said_of_a_rate_with_room_to_the_knee(
    outcome: StepOutcome, why: str, verdict: Verdict, said: str
) -> None:
    found = _knee("found")
    step = msgspec.structs.replace(found.steps[0], rate=480.0, outcome=outcome, why=why)
    assert knee.verdict(msgspec.structs.replace(found, with_room=[step])) == (
        verdict, f"{knee.verdict(found)[1]}{said}"
    )  # fmt: skip


@pytest.mark.parametrize(("end", "code"), [("found", 0), ("late", 4), ("above", 3), ("below", 1)])
def test_the_run_ends_as_its_search_does_however_good_its_rows(end: KneeEnd, code: int) -> None:
    evidence = _evidence()
    evidence.knees = [_knee(end)]
    report = _judged(evidence)
    assert reports.exit_code(report) == code
    assert all(row.verdict in ("PASS", "NOT_JUDGED") for row in report.slos)
    assert report.knees[0].says in re.sub(r"\s+", " ", to_text(report, width=400))


def test_the_documents_show_the_search(tmp_path: Path) -> None:
    folder = write_run(tmp_path, Story())
    folder.write_knee(_knee("found"))
    report = reports.assess(folder)
    reports.publish(folder, report)
    page = (folder.path / "report.html").read_text("utf-8")
    section = page[page.index("Knee of api-browse") :]
    picture = section[section.index("<svg") : section.index("</svg>")]
    assert "gate 100 ms: api.read_p99.iad" in picture
    assert "knee: 600 – 650" in picture
    assert "every gate held" in picture
    assert "a gate was missed" in picture
    assert "lies from 600 to 650 requests/s" in (folder.path / "summary.md").read_text("utf-8")
    assert msgspec.json.decode((folder.path / "report.json").read_bytes(), type=Document).schema == SCHEMA
    assert RunFolder(tmp_path).knees() == [_knee("found")]


def test_a_knee_without_a_verdict_gives_the_headline_its_reason() -> None:
    evidence = _evidence()
    evidence.knees = [_knee("late")]
    assert "the generator itself was late" in reports.headline(_judged(evidence))
