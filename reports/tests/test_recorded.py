"""Runs that were recorded by earlier versions say today what they said then, line for line."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from reports import assess, to_text
from reports.evidence import RunFolder

RECORDED = Path(__file__).with_name("recorded")


@pytest.mark.parametrize("name", sorted(path.name.removesuffix(".tar.xz") for path in RECORDED.glob("*.tar.xz")))
def test_a_recorded_run_is_judged_as_it_was(name: str, tmp_path: Path) -> None:
    with tarfile.open(RECORDED / f"{name}.tar.xz") as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extraction_filter = tarfile.data_filter  # From 3.14 on the default, warned of before.
        archive.extractall(tmp_path)
    expected = (RECORDED / f"{name}.txt").read_text("utf-8")
    assert to_text(assess(RunFolder(tmp_path / name))) == expected.removesuffix("\n")
