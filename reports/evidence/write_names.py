"""The names by which ledger and hops know a write: `<project>` for a creation, `<project>:<version>` for a later change
or the deletion, after the version that it leads to. An id that was deleted and made anew leads a second life,
`<project>/2`, `<project>/2:<version>`, since its versions begin again.
"""

from __future__ import annotations

from typing import NamedTuple

DELETED = "deleted"
"""What a deletion says (`Write.says`), in place of a digest."""


class WriteName(NamedTuple):
    """A name, taken apart. `life` is 1 for the first that was created under the id."""

    project: str
    version: int
    life: int

    def __str__(self) -> str:
        name = self.project if self.life == 1 else f"{self.project}/{self.life}"
        return name if self.version == 1 else f"{name}:{self.version}"


def read_name(name: str) -> WriteName:
    """ValueError for one whose version or life is no number."""
    before, _, version = name.partition(":")
    project, _, life = before.partition("/")
    return WriteName(project, int(version or 1), int(life or 1))
