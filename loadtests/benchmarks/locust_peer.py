"""Locust's FastHttpUser against one address, as fast as it answers, until a number of requests is done.

Run by Locust (`locust -f`) with PATH_ASKED and REQUESTS in the environment; the address is `--host`.
"""

# Locust's decorators carry no types.
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import os
import signal

from locust import FastHttpUser, task

_path = os.environ["PATH_ASKED"]
_requests = int(os.environ["REQUESTS"])
_done = 0


class Reader(FastHttpUser):
    @task
    def read(self) -> None:
        global _done  # One process, one count.
        response = self.client.get(_path)
        if response.status_code != 200:
            raise SystemExit(f"{_path}: expected 200, found {response.status_code}")
        _done += 1
        if _done == _requests:
            os.kill(os.getpid(), signal.SIGTERM)  # Locust's own way out.
