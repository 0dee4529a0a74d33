"""Which browser the suites drive: the system's Chromium, then the one that Playwright installed, then one
that is installed now. A missing browser is an answer, not an error: what depends on it is then skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "COVENANT_BROWSER"
"""Names the executable for the suites' process; empty: Playwright's own."""

_SYSTEM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_INSTALL_WITHIN_S = 600
_OWN_BUILD = "import playwright.sync_api as p\nwith p.sync_playwright() as w: print(w.chromium.executable_path)"


@dataclass(frozen=True)
class Browser:
    """`executable` is None when Playwright finds its own build by itself."""

    executable: str | None
    origin: str


class NoBrowser(Exception):
    """There is none, and none could be installed; says how to get one."""


def find(*, install_with_apt: bool, tell: Callable[[str], None]) -> Browser:
    """A browser, installed first if there is none. NoBrowser when that failed, too.

    `install_with_apt` allows to change the machine's own packages; `tell` hears of an installation.
    """
    if found := _present():
        return found
    tried = []
    if install_with_apt and shutil.which("apt-get") and os.geteuid() == 0:
        tell("browser: none found, installing the package chromium (a minute or two)")
        tried.append(_run("apt-get", "install", "chromium", command=_apt()))
        if found := _present():
            return found
    tell("browser: none found, installing Playwright's Chromium")
    tried.append(_run("playwright install", command=[sys.executable, "-m", "playwright", "install", "chromium"]))
    if found := _present():
        return found
    raise NoBrowser(
        f"no browser, and none could be installed ({'; '.join(tried)}): install Chromium (Debian and Ubuntu: "
        "apt install chromium; with --install-browser the command does it as root)"
    )


def _present() -> Browser | None:
    for name in _SYSTEM:
        if path := shutil.which(name):
            return Browser(path, path)
    own = subprocess.run(
        [sys.executable, "-c", _OWN_BUILD], capture_output=True, text=True, timeout=60, check=False
    ).stdout.strip()
    return Browser(None, own) if own and Path(own).exists() else None


def _apt() -> list[str]:
    update = "DEBIAN_FRONTEND=noninteractive apt-get update -qq && "
    return ["sh", "-c", update + "DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium"]


def _run(*name: str, command: list[str]) -> str:
    """Run an installer; what went wrong, in a few words."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_WITHIN_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{' '.join(name)}: {error}"
    last = (done.stderr or done.stdout).strip().splitlines()[-1:] or [""]
    return f"{' '.join(name)}: exit code {done.returncode} {last[0][:200]}"
