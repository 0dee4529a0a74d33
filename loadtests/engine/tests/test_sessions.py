"""A client a region that writes and reads beside a load: its ledger, and the history of what it saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.sessions.history import Initial, Page, Read, Write
from loadtests import run as runner
from loadtests.engine.sessions import READS, rate
from loadtests.request import Request, check
from loadtests.tests.load_servers import Api
from reports.evidence import RunFolder
from reports.evidence.folder import read_lines
from reports.evidence.write_names import read_name


@pytest.mark.parametrize(("duration_s", "regions"), [(60.0, 3), (60.0, 6), (40.0, 3)])
def test_a_short_load_has_enough_reads_for_its_row(duration_s: float, regions: int) -> None:
    assert rate(duration_s, regions) * duration_s * regions * 0.85 >= READS * 0.999


def test_a_long_load_is_not_felt() -> None:
    assert rate(4 * 3600, 3) * 3 <= 12


def test_each_region_s_client_keeps_a_history_and_a_ledger(
    api: Api, make_target: Callable[..., Path], tmp_path: Path
) -> None:
    folder = RunFolder.create(tmp_path / "run")
    asked = check(Request(scenario="api-browse", rate=20, duration_s=5, warmup_s=0))
    runner.run(asked, folder=folder, target_path=make_target(api=api.url))
    history = list(read_lines(folder.session_path("api-browse"), Initial | Write | Read | Page))  # type: ignore[arg-type]
    kinds = Counter((type(each).__name__, each.session) for each in history if not isinstance(each, Initial))
    assert set(kinds) == {(kind, region) for kind in ("Write", "Read", "Page") for region in ("iad", "ams")}
    writes = [each for each in history if isinstance(each, Write)]
    assert {each.kind for each in writes} == {"create", "update", "delete"}
    assert {each.outcome for each in writes} == {"ok"}
    ledger = folder.write_history("api-browse")
    assert len({write.id for write in ledger}) == len(writes) == len(ledger) / 2
    assert {each.id for each in writes} == {read_name(write.id).project for write in ledger}
    own = [each for each in history if isinstance(each, Read) and each.fresh]
    assert own
    assert all(
        each.incarnation is not None or any(w.kind == "delete" and w.id == each.id for w in writes) for each in own
    )
    made = {region: {each.id for each in writes if each.session == region} for region in ("iad", "ams")}
    assert any(each.id in made["ams"] for each in history if isinstance(each, Read) and each.session == "iad")
    assert not made["iad"] & made["ams"]
    pages = [each for each in history if isinstance(each, Page)]
    assert any(each.last and each.items for each in pages)
