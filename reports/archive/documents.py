"""From a run's folder to its report, and from the report to its documents on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from reports.evidence import SCHEMA, Run, RunFolder
from reports.evidence.folder import OWN_SLO, write_record
from reports.findings.loaded import load
from reports.model import Report, document
from reports.policy import own_slo
from reports.policy.claims import RowClaim, load_claims
from reports.policy.policy import Policy, load_policy
from reports.render.hlog import histograms, to_hlog
from reports.render.html import to_html
from reports.render.junit import to_junit
from reports.render.markdown import to_markdown
from reports.verdict.verdict import judge

MANIFEST = "manifest.json"


class Manifest(msgspec.Struct, kw_only=True):
    """`files`: path of every other file, relative to the run folder -> its SHA-256."""

    schema: int = SCHEMA
    run_id: str
    signature: str = "unsigned"
    files: dict[str, str]


def rules(folder: RunFolder, run: Run) -> tuple[list[RowClaim], Policy]:
    """The project's claims and policy, and the objectives that the run was asked to meet besides.

    PolicyError, ClaimError or SloError if a file is wrong.
    """
    claims = load_claims()
    policy = load_policy(claims=claims)
    if (own := folder.own_slo()) is not None:
        return own_slo.applied(own_slo.parse(OWN_SLO, own, claims), claims, policy, run.profile)
    return claims, policy


def assess(folder: RunFolder) -> Report:
    """The report of a run, computed from its evidence alone with the project's claims and policy, and the objectives
    that the run was asked to meet besides.

    EvidenceError if the folder has no readable `run.json`; PolicyError, ClaimError or SloError if a file is wrong.
    """
    evidence = load(folder)
    claims, policy = rules(folder, evidence.run)
    return judge(evidence, claims, policy)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(folder: RunFolder, report: Report) -> Manifest:
    paths = sorted(path for path in folder.path.rglob("*") if path.is_file() and path.name != MANIFEST)
    return Manifest(run_id=report.run_id, files={str(path.relative_to(folder.path)): _sha256(path) for path in paths})


def _write_histograms(folder: RunFolder) -> None:
    place = folder.evidence / "histograms"
    evidence = load(folder)
    for name, made, latencies in histograms(evidence.loads):
        place.mkdir(exist_ok=True)
        (place / name).write_text(to_hlog(evidence.run, made, latencies), "ascii")


def publish(folder: RunFolder, report: Report) -> None:
    """Write report.json, junit.xml, summary.md, evidence/histograms/, report.html, and last the manifest of the whole
    folder.

    ReportTooLarge, OSError.
    """
    _write_histograms(folder)
    write_record(folder.path / "report.json", document(report))
    (folder.path / "junit.xml").write_bytes(to_junit(report))
    (folder.path / "summary.md").write_text(to_markdown(report), "utf-8")
    (folder.path / "report.html").write_text(to_html(report, load(folder)), "utf-8")
    write_record(folder.path / MANIFEST, _manifest(folder, report))
