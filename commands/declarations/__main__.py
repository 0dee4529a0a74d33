"""Prints every omission, a line each; exit code 1 if there is one."""

from __future__ import annotations

import sys

from commands.declarations import consumers, experiments, loads, nights, plants

if __name__ == "__main__":
    found = [*loads.problems(), *consumers.problems(), *experiments.problems(), *plants.problems(), *nights.problems()]
    sys.exit("\n".join(dict.fromkeys(found)) or None)
