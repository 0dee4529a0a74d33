"""What the processes of a system say: the end of a log for an error, all of it without the secrets for a report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from infra.parts.base import Part

_TAIL_LINES = 12
_KEPT_CHARACTERS = 200_000
_FILES = ("log", "nats.json", "patroni.yml", "valkey.conf")
"""What a part's folder may hold: its log, and its configuration as it ran."""


def log_tail(log: Path) -> str:
    """Its last lines, indented."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"    {line}" for line in lines[-_TAIL_LINES:])


def keep(home: Path, parts: Iterable[Part], hidden: Sequence[str], folder: Path) -> None:
    """Copy the end of each log and each configuration to `folder`, with `***` for every text of `hidden`."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {path.name: path for path in home.glob("*.log")}
    kept.update({f"{part.name}.{name}": part.folder / name for part in parts for name in _FILES})
    for name, source in kept.items():
        if source.is_file():
            text = source.read_text(errors="replace")[-_KEPT_CHARACTERS:]
            for value in hidden:
                text = text.replace(value, "***")
            (folder / name).write_text(text)
