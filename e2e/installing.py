"""Installing a browser, with progress: Debian's package, or the build that Playwright downloads."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

from infra.machine import surroundings

Progress = Callable[[float, str], None]

_WITHIN_S = 600.0
_STAGES = {"dlstatus": (0.05, 0.5, "downloading"), "pmstatus": (0.55, 0.45, "unpacking and setting up")}
"""apt's stage -> (where it begins, its share of the whole, in words)."""
_LOCK_WAIT_S = 120


def with_apt(apt: str) -> Callable[[Progress], str]:
    """Installs Debian's package chromium with apt-get at the path `apt`; gives in a few words how it ended."""

    def install(progress: Progress) -> str:
        progress(0.0, "none found; installing the package chromium with apt (--no-install declines)")
        # Lists that cannot be renewed may still be good enough, so only the installation's end counts.
        _run([apt, "update", "-qq"], lambda line: None)
        options = ["-o", "APT::Status-Fd=1", "-o", f"DPkg::Lock::Timeout={_LOCK_WAIT_S}"]
        command = [apt, "install", "-y", "-qq", *options, "chromium"]
        return "apt-get install chromium: " + _run(command, lambda line: _show_stage(line, progress))

    return install


def with_playwright(engine: str) -> Callable[[Progress], str]:
    """Downloads Playwright's build of an engine, as any user; gives in a few words how it ended."""

    def install(progress: Progress) -> str:
        progress(0.0, f"none found; downloading Playwright's {engine} (--no-install declines)")
        command = [sys.executable, "-m", "playwright", "install", engine]
        return f"playwright install {engine}: " + _run(command, lambda line: _show_percent(line, progress))

    return install


def _show_stage(line: str, progress: Progress) -> None:
    """`dlstatus:1:12.5:Retrieving file 1 of 9`, as apt's status descriptor writes it."""
    kind, _, rest = line.partition(":")
    if kind in _STAGES and (found := re.search(r":(\d+(?:\.\d+)?):", f":{rest.partition(':')[2]}")):
        begin, share, words = _STAGES[kind]
        progress(begin + share * float(found[1]) / 100, f"apt is {words} chromium")


def _show_percent(line: str, progress: Progress) -> None:
    if found := re.search(r"(\d+)% of", line):
        progress(int(found[1]) / 100, "downloading")


def _run(command: Sequence[str], read: Callable[[str], None]) -> str:
    """Run an installer, through the caller's proxy if there is one, each line that it prints given to `read`; how it
    ended, in a few words."""
    environment = {**surroundings.callers(), "DEBIAN_FRONTEND": "noninteractive"}
    try:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace",
        )  # fmt: skip
    except OSError as error:
        return str(error)
    deadline = threading.Timer(_WITHIN_S, process.terminate)
    deadline.start()
    last = ""
    try:
        with process:
            for line in process.stdout or ():
                read(line)
                if line.strip() and line.partition(":")[0] not in _STAGES:
                    last = line.strip()
    finally:
        late = not deadline.is_alive()
        deadline.cancel()
    if late:
        return f"it did not end within {_WITHIN_S:g} s"
    return f"exit code {process.returncode} {last[:200]}".rstrip()
