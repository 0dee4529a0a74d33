"""New visitors: each request has a connection of its own, as the first requests of many browsers have.

Kept-alive connections stay with the process that took them, whatever is started beside it; a load that is to show
what a second process does has to bring new ones. Otherwise an open loop of reads like any other.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from infra import target as targets
from loadtests.clients.http import Answer, RequestError
from loadtests.clients.sign_in import ApiClient
from loadtests.engine.api_load import ROW, judge
from loadtests.engine.open_loop import Kind, OnEnd, RequestsSpec, api_client, run_requests, settings_of
from loadtests.engine.process import Control, run_engine
from reports.evidence import Recorder, percentile_ms
from system.wire import PROJECTS, REGIONS

_PATHS = (f"{PROJECTS}?limit=20", REGIONS)
_CLOSE = {"Connection": "close"}


class Visitors:
    """Asks in turn for a page of projects and for the regions; `early` and `late` are of the parts of the window in
    which the second process is surely not there, and surely is."""

    def __init__(self, client: ApiClient, region: str, *, early_before: int, late_from: int) -> None:
        self._client = client
        self._kinds = [Kind(region, "GET", path.partition("?")[0]) for path in _PATHS]
        self._early_before, self._late_from = early_before, late_from
        self.early, self.late = Recorder(), Recorder()

    def send(self, n: int, deadline: float, on_end: OnEnd) -> None:
        kind, path = self._kinds[n % len(_PATHS)], _PATHS[n % len(_PATHS)]
        data = self._client.format(b"GET", path, None, _CLOSE)
        self._client.start(data, deadline, partial(self._end, n, kind, on_end, time.monotonic_ns()))

    def _end(self, n: int, kind: Kind, on_end: OnEnd, sent_ns: int, answer: Answer) -> None:
        outcome, detail = (answer.outcome, answer.detail) if isinstance(answer, RequestError) else judge(answer)
        recorder = self.early if n < self._early_before else self.late if n >= self._late_from else None
        if recorder is not None and outcome == "ok":
            recorder.record_us((time.monotonic_ns() - sent_ns) // 1000)
        elif recorder is not None:
            recorder.failed += 1
        on_end(kind, outcome, detail)

    def settings(self) -> dict[str, str]:
        return {
            "with one process": _words(self.early),
            "with two, in the last quarter": _words(self.late),
        }


def _words(recorder: Recorder) -> str:
    latencies = recorder.close()
    median, p99 = percentile_ms(latencies, 50), percentile_ms(latencies, 99)
    if median is None or p99 is None:
        return "no request"
    return f"median {median:.1f} ms, p99 {p99:.1f} ms of {latencies.samples + latencies.failed:,} requests"


async def work(spec: RequestsSpec, control: Control) -> None:
    target = targets.read(Path(spec.target))
    (region,) = spec.regions
    client = api_client(target, region, "reader", spec.connections)
    await client.sign_in()
    rate, duration_s = spec.arrival.mean_rate / spec.users, spec.arrival.duration_s
    visitors = Visitors(
        client, region, early_before=round(rate * (spec.warmup_s + duration_s / 2)),
        late_from=round(rate * (spec.warmup_s + duration_s * 3 / 4)),
    )  # fmt: skip
    await run_requests(
        spec, control, visitors, ROW,
        lambda: {**settings_of(spec, target), **visitors.settings(), "connections": "a new one for each request"},
    )  # fmt: skip
    await client.close()


if __name__ == "__main__":
    run_engine(RequestsSpec, work)
