"""Parts in a folder whose path has a space and quotes; `infra/backup/tests/test_restore.py` has the others in one."""

from __future__ import annotations

from pathlib import Path

from infra.tests.small_cluster import running
from infra.topology.options import Options


def test_they_start_in_a_folder_with_a_space_and_quotes_in_its_path(tmp_path: Path) -> None:
    place = tmp_path / """my 'own' \\ "work\""""
    place.mkdir()
    with running(place / "home", ["valkey-iad", "nats-iad-a", "nats-iad-b", "nats-iad-c"], Options()) as system:
        assert system.waiting() == {}
