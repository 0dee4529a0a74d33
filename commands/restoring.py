"""`./covenant restore`: bring a dropped table back, or say plainly why it cannot be.

The work is `infra.operations.recovery`'s.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

import psycopg

from infra.backup.restore import NotRestored
from infra.fabric.process.system import System
from infra.machine.progress import say, step
from infra.operations import recovery

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_DONE, _NOT_DONE, _WRONG_USAGE = 0, 1, 2


def instant(text: str, now: datetime) -> datetime:
    """An instant in ISO 8601, in UTC unless it says otherwise. ValueError if it is none, or lies ahead."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"expected an instant like {now:%Y-%m-%dT%H:%M:%S}+00:00, found {text!r}") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    if at > now:
        raise ValueError(f"{at.isoformat()} lies ahead: it is {now.isoformat(timespec='seconds')} now")
    return at


def table(system: System, name: str, at_text: str, *, replace: bool) -> int:
    """Restore a table for people; the exit code."""
    try:
        at = instant(at_text, datetime.now(UTC))
        if not _NAME.fullmatch(name):
            raise ValueError(f"expected a table's plain name, found {name!r}")
    except ValueError as error:
        say(str(error))
        return _WRONG_USAGE
    try:
        with step(f"restore {name}") as progress:
            found = recovery.restore_table(system, name, at, replace=replace, progress=progress)
    except (NotRestored, psycopg.Error) as error:
        say(str(error))
        return _NOT_DONE
    if found is None:
        say(f"{name} is there, and nothing was touched; --replace keeps that one in another schema, and restores")
        return _WRONG_USAGE
    print(f"{name} is as it was at {at.isoformat()}: from the base backup of {found.base} and {found.segments} "
          f"segments of WAL, in {found.opened_s:.1f} s")  # fmt: skip
    return _DONE
