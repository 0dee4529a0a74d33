"""The browser that the suites drive: the machine's Chromium, else the one that Playwright installed, else one that is
installed now. Without a browser, what depends on it is skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.machine import surroundings

VARIABLE = "COVENANT_BROWSER"
"""The environment variable that names the executable for the suites' process; empty for Playwright's own."""

_SYSTEM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_INSTALL_WITHIN_S = 600
_OWN_BUILD = "import playwright.sync_api as p\nwith p.sync_playwright() as w: print(w.chromium.executable_path)"


@dataclass(frozen=True)
class Browser:
    """A browser that is installed."""

    executable: str | None
    """Its path; None for Playwright's own build, which Playwright finds by itself."""
    origin: str
    """Its path in either case, for people."""


class NoBrowser(Exception):
    """No browser was found or could be installed; says how to get one."""


def find(*, install_with_apt: bool, say: Callable[[str], None]) -> Browser:
    """A browser; it is installed if there is none. NoBrowser.

    `install_with_apt` allows changes of the machine's own packages; `say` is called before an installation.
    """
    if found := _present():
        return found
    tried = []
    if install_with_apt and shutil.which("apt-get") and os.geteuid() == 0:
        say("browser: none found, installing the package chromium (a minute or two)")
        tried.append(_run("apt-get", "install", "chromium", command=_apt()))
        if found := _present():
            return found
    say("browser: none found, installing Playwright's Chromium")
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
    """Run an installer, through the caller's proxy if there is one; how it ended, in a few words."""
    try:
        done = subprocess.run(
            command, env=surroundings.callers(), capture_output=True, text=True, timeout=_INSTALL_WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{' '.join(name)}: {error}"
    last = (done.stderr or done.stdout).strip().splitlines()[-1:] or [""]
    return f"{' '.join(name)}: exit code {done.returncode} {last[0][:200]}"
