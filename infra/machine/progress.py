"""Progress of long steps, on stderr: a bar on a terminal, plain lines otherwise."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Report = Callable[[float, str], None]
"""Takes the fraction done, 0..1, and what is being done."""


def show_nothing(fraction: float, text: str) -> None:
    """A `Report` that shows nothing."""


_EVERY_S = 15.0
"""Without a terminal, how often a step prints a line while only its fraction changes."""


@contextmanager
def step(name: str) -> Iterator[Report]:
    """Show one step while the block runs."""
    with _bar(name) if sys.stderr.isatty() else _lines(name) as report:
        yield report


@contextmanager
def _bar(name: str) -> Iterator[Report]:
    # Imported here, since only a terminal needs it and many processes import this module just for `Report`.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.fields[title]:<22}"),
        BarColumn(28),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=1.0, title=name)
        yield lambda fraction, text: progress.update(task, completed=fraction, description=text)
        progress.update(task, completed=1.0, description="done")


@contextmanager
def _lines(name: str) -> Iterator[Report]:
    began = time.monotonic()
    shown_at, shown = began, ""

    def report(fraction: float, text: str) -> None:
        nonlocal shown_at, shown
        now = time.monotonic()
        if text != shown or now - shown_at >= _EVERY_S:
            say(f"{name}: {text} ({fraction:.0%}, {now - began:.0f} s)")
            shown_at, shown = now, text

    say(f"{name} ...")
    yield report
    say(f"{name}: done in {time.monotonic() - began:.0f} s")


def say(text: str) -> None:
    """Print a line on stderr. If that cannot be written any more (its reader has ended, its disk is full), nothing more
    is printed: a run that is being healed and stopped must not end over a line of progress."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _write_no_more(sys.stderr.fileno())


def forget_lost_terminal() -> None:
    """Write no more to a terminal that has hung up: each line would be an error."""
    for descriptor in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                _write_no_more(descriptor)


def _write_no_more(descriptor: int) -> None:
    nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nothing, descriptor)
    os.close(nothing)
