"""A whole synthetic run, and every document that is made of it."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

import reports
from reports.evidence import BrowserTest, RunFolder, TimelineEvent
from reports.model import Document
from reports.render.html import LIMIT_BYTES
from reports.tests.repeated_run import CAUSE, write_repeated
from reports.tests.synthetic_run import Story, at, write_run

STORIES = {
    "pass": Story(),
    "fail": Story(slow_ms={"syd": 105}, lost=3, doubled=2, died="nats-ams", browser="failed"),
    "invalid": Story(steal=0.22, slow_ms={"iad": 120, "ams": 120, "syd": 120}),
    "inconclusive": Story(browser="skipped", requests=9000),
}
DOCUMENTS = ("junit.xml", "summary.md", "report.html")
CODES = {"pass": 0, "fail": 1, "invalid": 4, "inconclusive": 3}


@pytest.fixture(scope="module", params=list(STORIES))
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    path: Path = tmp_path_factory.mktemp("documents") / request.param
    folder = write_run(path, STORIES[request.param])
    reports.publish(folder, reports.assess(folder))
    return request.param, path


def test_a_run_is_judged_by_the_objectives_that_it_was_asked_to_meet(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", STORIES["pass"])
    assert reports.assess(folder).verdict == "PASS"
    folder.write_own_slo(
        "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: n, annotations: {covenant/row: api.read_p99}}\n"
        "spec:\n  description: faster\n  indicator: {spec: {thresholdMetric: {}}}\n  budgetingMethod: Occurrences\n"
        "  objectives: [{op: lt, value: 10, target: 0.99}]\n"
    )
    report = reports.assess(folder)
    row = next(row for row in report.slos if row.id == "api.read_p99.iad")
    assert (report.verdict, row.verdict, row.claim.text, row.claim.value) == ("FAIL", "FAIL", "faster", 10.0)
    assert row.gate is not None
    assert row.gate.value == 10.0


def test_every_document_shows_the_tries_of_a_phase_and_what_the_first_ones_came_to(tmp_path: Path) -> None:
    folder = write_repeated(tmp_path / "run")
    reports.publish(folder, reports.assess(folder))
    found = report_json(folder.path)
    assert [[each["counts"], each["cause"]] for each in found["tries"][0]["tries"]] == [[False, CAUSE], [True, ""]]
    assert found["first_tries"] == {"verdict": "FAIL", "rows": {"bus.publish_p99": "FAIL"}}
    page = page_of(folder.path)
    said = " ".join(" ".join(page.words).split())
    assert "By first tries alone the verdict would have been ✕ FAIL : bus.publish_p99 FAIL" in said
    assert f"bus-ingest 1 66 s 2 s no, set aside {CAUSE}" in said
    assert "bus-ingest 2 68 s 33 s yes nothing" in said
    assert "./evidence/tries/bus-ingest.1/evidence/run.json" in page.links
    assert all((folder.path / link).is_file() for link in page.links if not link.startswith("#"))
    summary = (folder.path / "summary.md").read_text("utf-8")
    assert f"bus-ingest: try 1 was set aside and repeated, because {CAUSE}" in summary
    assert "by first tries alone the verdict would have been FAIL" in summary
    assert found["verdict"] == "PASS"


class Page(HTMLParser):
    """What a page loads, links and says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if tag == "a" and name == "href":
                self.links.append(value or "")
            elif name in ("src", "srcset", "href", "xlink:href", "data", "action", "poster", "background"):
                self.loads.append(f"{tag} {name}={value}")
            if name == "id":
                self.ids.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page_of(path: Path) -> Page:
    return Page((path / "report.html").read_text("utf-8"))


def report_json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "report.json").read_text("utf-8"))
    return found


def test_the_page_asks_the_network_for_nothing(published: tuple[str, Path]) -> None:
    _, path = published
    text = (path / "report.html").read_text("utf-8")
    page = Page(text)
    assert page.loads == []
    assert not {"script", "link", "iframe", "img", "object", "embed", "base"} & set(page.tags)
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert all(link.startswith(("./", "#")) for link in page.links)


def test_the_page_is_small_enough(published: tuple[str, Path]) -> None:
    _, path = published
    assert (path / "report.html").stat().st_size < LIMIT_BYTES


def test_links_of_the_page_lead_somewhere(published: tuple[str, Path]) -> None:
    name, path = published
    page = page_of(path)
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids
        elif not (name == "fail" and link.endswith("trace.zip")):
            assert (path / link).is_file(), link


def test_the_page_begins_with_the_headline(published: tuple[str, Path]) -> None:
    _, path = published
    said = " ".join(" ".join(page_of(path).words).split())
    sign, _, sentence = reports.headline(reports.assess(RunFolder(path))).partition(": ")
    assert f"{sign} {sentence}" in said
    assert said.index(sentence) < said.index("Gates")


def test_every_row_is_on_the_page(published: tuple[str, Path]) -> None:
    _, path = published
    said = set(" ".join(page_of(path).words).split())
    assert {row["id"] for row in report_json(path)["slos"]} <= said


def test_the_page_shows_timeline_curves_and_machine(published: tuple[str, Path]) -> None:
    _, path = published
    text = (path / "report.html").read_text("utf-8")
    labels = re.findall(r'<svg role="img" aria-label="([^"]+)"', text)
    assert [label.partition(":")[0].partition(",")[0] for label in labels] == [
        "Timeline",
        "Latency by percentile",
        "The machine",
    ]
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    # Colours that are not the page's own would be unreadable on one of the two papers.
    assert set(re.findall(r'(?:fill|stroke)="([^"]+)"', drawn)) <= {"none", "transparent"} | set(
        re.findall(r'"(var\(--[a-z0-9]+\))"', drawn)
    )


def test_names_from_outside_are_escaped(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Story(state="broken", error='<script>alert("x")</script>', died="<b>nats"))
    reports.publish(folder, reports.assess(folder))
    text = (folder.path / "report.html").read_text("utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "<b>nats" not in text
    assert "<script" not in (folder.path / "summary.md").read_text("utf-8")
    ElementTree.parse(folder.path / "junit.xml")


def test_report_json_has_the_fields_that_are_promised_and_no_more(published: tuple[str, Path]) -> None:
    _, path = published
    report = report_json(path)
    assert list(report) == list(Document.__struct_fields__)
    assert list(report) == [
        "schema", "run_id", "verdict", "profile", "seed", "release", "started_at", "finished_at", "fingerprint",
        "slos", "experiments", "e2e", "planted", "tries", "first_tries",
    ]  # fmt: skip
    assert set(report["slos"][0]) == {
        "id", "claim", "gate", "measured", "unit", "interval", "samples", "floor", "ceiling", "baseline", "verdict",
        "why", "durability", "evidence", "p999", "max",
    }  # fmt: skip
    assert set(report["slos"][0]["claim"]) == {"text", "op", "value", "unit", "verdict"}
    assert set(report["experiments"][0]) == {
        "id", "verdict", "fault_proven", "healed", "repeats", "rto_s", "rpo", "worst", "budget_s",
    }  # fmt: skip
    assert set(report["experiments"][0]["rto_s"]) == {"detected", "first_success", "slo_stable", "redundancy"}
    assert set(report["experiments"][0]["rpo"]) == {"acked", "lost", "lost_seconds", "duplicated", "unknown"}


def test_the_exit_code_is_what_report_json_implies(published: tuple[str, Path]) -> None:
    name, path = published
    assert reports.exit_code(reports.assess(RunFolder(path))) == CODES[name]
    assert report_json(path)["verdict"].lower() == name


def test_assessing_again_gives_the_same_report(published: tuple[str, Path]) -> None:
    _, path = published
    again = RunFolder(path)
    before = (path / "report.json").read_bytes()
    reports.publish(again, reports.assess(again))
    assert (path / "report.json").read_bytes() == before


def test_junit_has_a_case_a_row_and_says_what_each_is(published: tuple[str, Path]) -> None:
    _, path = published
    rows = report_json(path)["slos"]
    suite = ElementTree.parse(path / "junit.xml").getroot().find("testsuite")
    assert suite is not None
    cases = {
        case.get("name"): [child.tag for child in case if child.tag != "properties"] for case in suite.iter("testcase")
    }
    tags = {"PASS": [], "FAIL": ["failure"], "INVALID": ["error"], "INCONCLUSIVE": ["error"], "NOT_JUDGED": ["skipped"]}
    assert cases == {row["id"]: tags[row["verdict"]] for row in rows}
    assert suite.get("tests") == str(len(rows))
    assert suite.get("failures") == str(sum(row["verdict"] == "FAIL" for row in rows))


def test_junit_gives_times_and_figures(published: tuple[str, Path]) -> None:
    _, path = published
    report = report_json(path)
    root = ElementTree.parse(path / "junit.xml").getroot()
    suite = root.find("testsuite")
    assert suite is not None
    assert root.get("time") == suite.get("time") == "255.0"
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert all(float(case.get("time", "missing")) >= 0 for case in cases.values())
    assert cases["api.read_p99.syd"].get("time") == "45.0"
    assert cases["recovery.rto"].get("time") == "90.0"
    assert next(child.tag for child in cases["api.read_p99.syd"]) == "properties"
    for row in report["slos"]:
        found = {each.get("name"): each.get("value") for each in cases[row["id"]].iter("property")}
        assert found["verdict"] == row["verdict"]
        assert found["samples"] == str(row["samples"])
        assert found.get("measured") == (None if row["measured"] is None else str(row["measured"]))
        assert found.get("unit") == row["unit"]
        assert ("gate" in found) == (row["gate"] is not None)
        assert ("p999" in found) == (row["p999"] is not None)


STEERING = "\x1b[31mred\x1b]8;;http://e\x07 \x00 \x7f \x9b \u202e \ufffe ![x](http://e/x.png) `c` | *b* @someone <i>"


@pytest.fixture(scope="module")
def steered(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run whose errors, parts, phases and tests hold characters that steer a program which reads them."""
    path: Path = tmp_path_factory.mktemp("steered") / "run"
    story = Story(state="broken", error=STEERING, died=f"nats{STEERING}", lost=1)
    folder = write_run(path, story)
    with folder.timeline() as timeline:
        timeline.add(TimelineEvent(at_ns=at(30), kind="phase_begin", name=STEERING))
        timeline.add(TimelineEvent(at_ns=at(90), kind="phase_end", name=STEERING))
    with folder.browser() as tests:
        tests.add(BrowserTest(id=f"test_a[{STEERING}]", outcome="failed", duration_s=1, detail=STEERING))
    reports.publish(folder, reports.assess(folder))
    return folder


def test_no_document_holds_a_character_that_steers_its_reader(steered: RunFolder) -> None:
    texts = {name: (steered.path / name).read_text("utf-8") for name in DOCUMENTS}
    texts["terminal"] = reports.to_text(reports.assess(steered), width=400)
    for name, text in texts.items():
        assert re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ufffe]", text) == [], name
        assert "31mred" in text, name


def test_report_json_keeps_others_words_exactly(steered: RunFolder) -> None:
    (row,) = [row for row in report_json(steered.path)["slos"] if row["id"] == "web.e2e"]
    assert f"failed: test_a[{STEERING}]" in row["why"]


def test_junit_is_well_formed_xml_and_shows_what_it_left_out(steered: RunFolder) -> None:
    parser = expat.ParserCreate()
    said: list[str] = []
    parser.StartElementHandler = lambda tag, attributes: said.extend(attributes.values())
    parser.Parse((steered.path / "junit.xml").read_bytes(), True)
    assert any("\\x1b[31mred" in text and "\\x00" in text for text in said)


def test_the_summary_makes_no_markup_of_what_others_wrote(steered: RunFolder) -> None:
    text = (steered.path / "summary.md").read_text("utf-8")
    assert "someone" in text
    assert re.findall(r"(?<!\\)[\[\]]|@\w|<", text) == []
    assert set(re.findall(r"(?<!\\)`([^`]+)(?<!\\)`", text)) <= {row.id for row in reports.assess(steered).slos}


def test_histogram_logs_read_back_by_the_library_give_the_p99_of_the_report(published: tuple[str, Path]) -> None:
    _, path = published
    rows = {row["id"]: row for row in report_json(path)["slos"]}
    measured = ["api.read_p99.iad", "api.read_p99.ams", "api.read_p99.syd"]
    logs = {row: path / "evidence" / "histograms" / f"api-browse.{row}.hlog" for row in measured}
    logs["bus.publish_p99"] = path / "evidence" / "histograms" / "bus-ingest.bus.publish_p99.hlog"
    for row, log in logs.items():
        reader = HistogramLogReader(str(log), HdrHistogram(1, 3_600_000_000, 3))
        histogram = reader.get_next_interval_histogram()
        assert reader.get_next_interval_histogram() is None
        reader.close()
        assert histogram.get_value_at_percentile(99) / 1000 == rows[row]["measured"]
        assert histogram.get_value_at_percentile(99.9) / 1000 == rows[row]["p999"]
        assert histogram.get_value_at_percentile(100) / 1000 == rows[row]["max"]
        assert histogram.get_total_count() == rows[row]["samples"]
        assert histogram.get_start_time_stamp() == pytest.approx(
            datetime(2026, 11, 24, 4, 42, 46, tzinfo=UTC).timestamp() * 1000 + (20_000 if "api" in row else 70_000)
        )
    assert "#[Histogram log format version 1.3]" in log.read_text()


def test_the_summary_fits_a_comment_and_begins_with_the_headline(published: tuple[str, Path]) -> None:
    _, path = published
    text = (path / "summary.md").read_text("utf-8")
    assert len(text) < 10_000
    assert text.startswith("**")
    table = [line for line in text.splitlines() if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
    assert widths <= {9, 11}
    for row in report_json(path)["slos"]:
        assert (f"`{row['id']}`" in text) == (row["verdict"] != "NOT_JUDGED")


def test_the_manifest_holds_the_hash_of_every_other_file(published: tuple[str, Path]) -> None:
    _, path = published
    manifest = json.loads((path / "manifest.json").read_text("utf-8"))
    there = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()} - {"manifest.json"}
    assert set(manifest["files"]) == there
    assert manifest["signature"] == "unsigned"
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((path / name).read_bytes()).hexdigest() == digest


def test_the_terminal_sees_the_verdict_first_and_the_worst_row_next(published: tuple[str, Path]) -> None:
    _, path = published
    report = reports.assess(RunFolder(path))
    lines = reports.to_text(report, width=200).splitlines()
    assert lines[0].startswith(reports.headline(report)[:190])
    rows = [line for line in lines[1:] if any(f" {row.id} " in line for row in report.slos)]
    assert report.verdict in rows[0]
    assert all("\x1b" not in line for line in lines)
    assert "pg-primary-kill" in "\n".join(lines)


def test_an_empty_run_still_has_every_document(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Story(state="not_started", error="no port was free", experiments=[]))
    for path in folder.evidence.rglob("*"):
        if path.is_file() and path.name != "run.json":
            path.unlink()
    report = reports.assess(folder)
    reports.publish(folder, report)
    assert reports.exit_code(report) == 5
    assert "no port was free" in (folder.path / "report.html").read_text("utf-8")
    assert reports.to_text(report)


def test_reading_evidence_imports_neither_charts_nor_templates() -> None:
    """Load engines start by the dozen, and import nothing but evidence."""
    code = "import sys, reports.evidence; print(sorted({'vl_convert', 'jinja2', 'rich', 'yaml'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "[]"
