"""What the surroundings of a caller may do to us, decided here for this process and every process that it starts.

Proxies, Python's own variables, and the variables and files in the home folder by which tools are configured (PG*,
AWS_*, LOCUST_*, ETCD_*, ~/.pgpass, ~/.netrc, ~/.locust.conf, ...) would change what runs, unseen in any report. There
are more of them than a list could name. So the list names what passes, and the home folder is one of ours.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from infra.machine.checkout import STATE

HOME = STATE / "home"
"""The home folder of our processes. No tool finds a configuration of the caller's in it."""
_CALLER = dict(os.environ)
_PASSED = frozenset({
    "PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL", "CI",
    # How a terminal and a screen are reached.
    "TERM", "COLORTERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY",
    "XDG_RUNTIME_DIR",
    "PLAYWRIGHT_BROWSERS_PATH", "GIT_CONFIG_GLOBAL",
})  # fmt: skip
_PASSED_PREFIXES = ("COVENANT_", "LC_", "PYTEST_XDIST_")
CALLERS_HOME = "COVENANT_CALLERS_HOME"
"""The environment variable that names the caller's home folder, for a program that works in no other: a browser that
the system confines to it."""
_BROWSERS = "PLAYWRIGHT_BROWSERS_PATH"
_GIT = "GIT_CONFIG_GLOBAL"
_LIBRARIES = "LD_LIBRARY_PATH"
_TOOLS = ("LOCUST_", "CHAOSTOOLKIT_")
_THIS_MACHINE = "localhost,.localhost,127.0.0.1,::1"
_TRIED_WITHIN_S = 20.0


def enter() -> None:
    """Make this process's environment ours. What it imports later, and the processes that it starts, know no other."""
    ours = environment(os.environ)
    # A folder that cannot be made is as good as an empty one: no configuration is found in it.
    with suppress(OSError):
        HOME.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ.clear()
    os.environ.update(ours)


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process of the harness, made from the one `given` by a caller."""
    ours = {
        name: value for name, value in given.items() if name in _PASSED or name.startswith(_PASSED_PREFIXES)
    } | _interpreter(given)
    ours["HOME"] = str(HOME)
    if (home := given.get("HOME")) and home != str(HOME):
        ours[CALLERS_HOME] = home
        # Playwright keeps its browsers there: hundreds of MB that we do not want twice.
        ours.setdefault(_BROWSERS, str(Path(given.get("XDG_CACHE_HOME") or f"{home}/.cache") / "ms-playwright"))
        # It may say that a checkout of another owner is safe.
        if (configuration := Path(home) / ".gitconfig").exists():
            ours.setdefault(_GIT, str(configuration))
    return ours


def bare() -> dict[str, str]:
    """The environment of a part of the system, before its own settings: nothing of the caller's but what the
    interpreter needs."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        **_interpreter(os.environ),
    }


def callers() -> dict[str, str]:
    """The caller's own environment, with its proxies and its home folder. It is for what works for the caller beyond
    this machine's system: git, an installer, a program that the caller brought."""
    kept = {name: value for name, value in _CALLER.items() if not name.startswith("PYTHON")}
    return kept | _interpreter(_CALLER)


def for_brought() -> dict[str, str]:
    """For code that the caller brought, an experiment or a locustfile: the caller's own environment, in which it finds
    what it reads, with what we have set (COVENANT_*). No proxy is asked for this machine, and no variable configures
    the tool that runs the code."""
    kept = {name: value for name, value in callers().items() if not name.startswith(_TOOLS)}
    ours = {name: value for name, value in os.environ.items() if name.startswith("COVENANT_")}
    direct = ",".join(filter(None, (kept.get("no_proxy") or kept.get("NO_PROXY"), _THIS_MACHINE)))
    return kept | ours | {"no_proxy": direct, "NO_PROXY": direct}


def _interpreter(given: Mapping[str, str]) -> dict[str, str]:
    """What our interpreter needs in its environment: a folder in which it is started must not shadow our modules, and
    its own shared library must be found."""
    libraries = given.get(_LIBRARIES)
    needed = {_LIBRARIES: libraries} if libraries and _needs_libraries() else {}
    return {"PYTHONSAFEPATH": "1", **needed}


@cache
def _needs_libraries() -> bool:
    """Whether the interpreter does not start without LD_LIBRARY_PATH. Where it does, that variable would only put
    foreign libraries before those that our wheels bring."""
    tried = subprocess.run([sys.executable, "-I", "-S", "-c", ""], env={}, capture_output=True,
                           timeout=_TRIED_WITHIN_S, check=False)  # fmt: skip
    return tried.returncode != 0
