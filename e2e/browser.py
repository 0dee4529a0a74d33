"""The browser that the suites drive: the machine's Chromium, else Playwright's own, else one that is installed now.

A browser is believed only after it has opened a page: on Ubuntu `chromium-browser` may be a stub that exits, and a
build may lack libraries. One that does not start is named, and the next one is tried. Firefox and WebKit are
Playwright's own builds alone, since it drives no others.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from e2e.installing import with_apt, with_playwright
from infra.machine import surroundings
from infra.machine.progress import say, step

VARIABLE = "COVENANT_BROWSER"
"""The environment variable that names Chromium's executable for the suites' process; empty for Playwright's own."""

ENGINES = ("chromium", "firefox", "webkit")

_SYSTEM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_LAUNCH_WITHIN_MS = 30_000
_START_WITHIN_S = 60.0
_NOT_THERE = "Executable doesn't exist"
_START = """
import sys
from playwright.sync_api import Error, sync_playwright
engine, executable, within_ms = sys.argv[1:]
with sync_playwright() as playwright:
    try:
        browser = getattr(playwright, engine).launch(executable_path=executable or None, timeout=float(within_ms))
        page = browser.new_page()
        page.goto("data:text/html,<title>open</title>")
        print(page.title())
        browser.close()
    except Error as error:
        sys.exit(error.message)
"""


@dataclass(frozen=True)
class Browser:
    """A browser that was started and opened a page."""

    engine: str
    executable: str | None
    """Its path; None for Playwright's own build, which Playwright finds by itself."""


def executable_for(engine: str, channel: str | None) -> str | None:
    """The executable that the suites' process has to start for an engine and a channel (`chrome`, `msedge`): the
    variable's is Chromium's, and never another's. None: Playwright's own."""
    return os.environ.get(VARIABLE) or None if engine == "chromium" and not channel else None


class NoBrowser(Exception):
    """No browser was found or could be installed; says how to get one."""


def find(engine: str = "chromium", *, install: bool, search: str | None = None, root: bool | None = None) -> Browser:
    """A browser that starts; it is installed if there is none. NoBrowser.

    `install` allows changes of the machine: Debian's package if this is root (`root`: whether it is, asked by default),
    else Playwright's build. `search` is where the machine's browsers are looked for; default: PATH.
    """
    search = os.environ.get("PATH", "") if search is None else search
    tried: list[str] = []
    if found := _present(engine, search, tried):
        return found
    if install:
        ways = _ways(engine, search, os.geteuid() == 0 if root is None else root)
        for way in ways:
            with step("browser") as progress:
                ended = way(progress)
            tried.append(ended)
            if found := _present(engine, search, tried):
                return found
    reasons = "; ".join(dict.fromkeys(tried))
    raise NoBrowser(f"no {engine.capitalize()} starts ({reasons}): {_advice(engine, install)}")


def _ways(engine: str, search: str, root: bool) -> list[Callable[[Callable[[float, str], None]], str]]:
    """How the engine can be installed here, best first."""
    apt = shutil.which("apt-get", path=search) if engine == "chromium" and root else None
    return [*([with_apt(apt)] if apt else []), with_playwright(engine)]


def _advice(engine: str, install: bool) -> str:
    own = f"{sys.executable} -m playwright install {engine}"
    ways = f"`apt install chromium` as root on Debian, or `{own}`" if engine == "chromium" else f"`{own}`"
    return f"get it with {ways}" + ("" if install else ", or leave out --no-install")


def _present(engine: str, search: str, tried: list[str]) -> Browser | None:
    """The first browser that starts; why others do not is added to `tried`."""
    for executable in [*(_on_machine(search) if engine == "chromium" else ()), None]:
        reason = _why_not(engine, executable)
        if reason is None:
            return Browser(engine, executable)
        absent = executable is None and _NOT_THERE in reason
        name = executable or f"Playwright's own {engine.capitalize()}"
        says = f"{name} is not installed" if absent else f"{name} does not start: {reason}"
        if says not in tried and not absent:
            say(f"browser: {says}")
        tried.append(says)
    return None


def _on_machine(search: str) -> Iterator[str]:
    """Every Chromium on the search path: behind a stub there may be a true one of the same name."""
    seen = set()
    for name in _SYSTEM:
        for folder in search.split(os.pathsep):
            path = shutil.which(name, path=folder) if folder else None
            # /bin may be a link to /usr/bin.
            if path and (place := Path(path).parent.resolve() / name) not in seen:
                seen.add(place)
                yield path


def environment() -> dict[str, str]:
    """The environment of a browser: ours, and the caller's home folder, since a browser that is a snap starts in no
    other. Its profile is Playwright's all the same."""
    return {**os.environ, "HOME": os.environ.get(surroundings.CALLERS_HOME, os.environ["HOME"])}


def _why_not(engine: str, executable: str | None) -> str | None:
    """Start a browser without a window, in a process of its own; None if it opened a page, else why not."""
    command = [sys.executable, "-c", _START, engine, executable or "", str(_LAUNCH_WITHIN_MS)]
    try:
        done = subprocess.run(
            command, env=environment(), capture_output=True, text=True, timeout=_START_WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no page within {_START_WITHIN_S:g} s"
    return None if done.returncode == 0 and done.stdout.strip() == "open" else _reason(done.stderr)


def _reason(output: str) -> str:
    """The last line that the browser printed, else Playwright's own first line."""
    lines = [line.strip() for line in output.partition("Call log:")[0].splitlines() if line.strip()]
    printed = [line.partition("][err] ")[2] for line in lines if "][err] " in line]
    return (printed[-1:] or lines[:1] or ["it ended without a word"])[0][:200]
