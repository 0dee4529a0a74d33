"""The seed's full scale in a database of its own, and what a smaller one shows."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from checks import points
from infra.fabric.process.system import System
from infra.parts import postgres
from reports.evidence import RunFolder
from reports.policy.policy import load_policy


@pytest.mark.running
def test_the_full_scale_is_there_and_reconciles(system: System, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    points.record(system, folder)
    number, *checks = folder.counts()
    assert (number.value, number.ok) == (58_500, None)
    assert [check.how for check in checks if not check.ok] == []
    assert 1 + len(checks) == load_policy().minimum_samples(points.ROW)
    superuser = postgres.dsn(system.place, "postgres", system.site.secrets["postgres"], database="postgres")
    with psycopg.connect(superuser) as link:
        assert link.execute("select count(*) from pg_database where datname like 'covenant_p%'").fetchone() == (0,)


@pytest.mark.running
def test_a_smaller_one_is_counted_as_it_is(system: System, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    points.record(system, folder, 301)
    number, *checks = folder.counts()
    assert number.value == 301
    assert [check.value for check in checks if not check.ok] == [6], "no region has all of its projects"
