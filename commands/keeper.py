"""Keeps a system running for `up`: in this process until Ctrl-C, or in one of its own that `down` ends."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from infra.fabric.process.homes import clean_up, end_owner
from infra.fabric.process.system import System
from infra.machine import interrupts, processes
from infra.machine.progress import say, step

_READY = "running;"
_DOWN_WITHIN_S = 60.0


def keep(system: System, tell: Callable[[str], None]) -> None:
    """Start the system, tell where its web app is, wait for a signal that ends it, stop it. Raises StartError."""
    interrupts.raise_interrupt()
    try:
        with step("system") as progress:
            system.start(progress)
        for region, origin in system.target().web.items():
            tell(f"{region}  {origin}")
        say(f"{_READY} Ctrl-C or ./covenant down ends it")
        while True:
            signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        interrupts.ignore()
        say("stopping the system")
        system.stop()
        system.remove()


def detach(arguments: Sequence[str], checkout: Path, tell: Callable[[str], None]) -> int | None:
    """Start our command line in a process of its own and show its output until the system is ready. Returns the
    exit code if it ended before that."""
    log = checkout / ".covenant" / "up.log"
    log.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "covenant", *arguments]
    with log.open("wb") as file:
        keeper = processes.spawn(command, environment=os.environ, folder=checkout, log=file)
    with log.open() as lines:
        while True:
            ended = keeper.poll()
            for line in lines:
                (tell if " http" in line else say)(line.rstrip())
                if line.startswith(_READY):
                    keeper.returncode = 0  # It lives on without us; Popen need not wait for it.
                    return None
            if ended is not None:
                return ended
            time.sleep(0.1)


def down(home: Path, checkout: Path) -> bool:
    """Stop the system in `home`, and what crashed systems of this checkout left running; True if it is gone."""
    end_owner(home, _DOWN_WITHIN_S)
    clean_up(checkout)
    return not home.exists()
