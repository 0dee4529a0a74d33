"""How a command ends: its exit codes, and the one line that says why.

0 PASS, 1 FAIL, 3 INCONCLUSIVE and 4 INVALID come from the verdict; the others are here.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from infra.machine.progress import say

EXIT_USAGE, EXIT_UNTRUSTED, EXIT_NOT_STARTED, EXIT_INTERRUPTED = 2, 4, 5, 130


def fail(code: int, message: str) -> NoReturn:
    """End the process with one line that says why."""
    say(f"covenant: {message}")
    sys.exit(code)
