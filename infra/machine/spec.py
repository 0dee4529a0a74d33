"""The specification of a process of the harness: a JSON file that its command line names."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TypeVar

import msgspec

SpecT = TypeVar("SpecT")


class EngineError(Exception):
    """A process of the harness cannot do its work; says what was expected, what was found, and what to do next."""


def read_spec(kind: type[SpecT]) -> SpecT:
    """The specification that the command line names. SystemExit with a plain line if there is none, or a wrong one."""
    if len(sys.argv) != 2:
        sys.exit("expected one argument: the file of a specification (JSON)")
    try:
        return msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        sys.exit(f"{sys.argv[1]}: {error}")
