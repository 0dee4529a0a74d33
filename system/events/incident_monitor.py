"""Opens and closes the system's own incidents: a consumer lags, the database failed over, a consumer has dead letters.

The monitor runs in the relay's process, so that there is one at a time; two at once would do no harm. It reads the open
incidents from the database, so a monitor that was killed needs no handover. Logs and tables call it "watch".
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping

import asyncpg
import msgspec
from nats.aio.client import Client
from nats.errors import Error

from system.domain.geography import REGIONS
from system.domain.lag import AGE_MAX_S, EVENTS_MAX, Alarm, ConfirmedHistory, Lag, judge
from system.process import DependencyState
from system.settings import Settings
from system.store import incidents as store
from system.store.incidents import Snapshot, SystemIncident
from system.store.session import Session, Unavailable
from system.wire import DEAD_LETTERS, DEAD_LETTERS_SUBJECTS, Region

_EVERY_S = 1.0
_PRUNE_EVERY_S = 60.0
_BUS_WITHIN_S = 2.0
_DATABASE = "primary database of the watch"


class IncidentMonitor:
    """The state between rounds. Incidents that concern no region are filed under `region`."""

    def __init__(self, region: Region) -> None:
        self._region = region
        self._history = ConfirmedHistory()
        self._alarms: dict[str, Alarm] = {}
        self._prune_at_s = 0.0

    async def round(
        self, connection: asyncpg.Connection, now_s: float, letters: Mapping[str, int] | None = None
    ) -> None:
        """Read the current state once, then open and close incidents. `now_s`: seconds of a clock that never goes back.
        `letters`: consumer -> number of dead letters, None if unknown."""
        await store.check_timeline(connection, self._region)
        snapshot = await store.read_snapshot(connection)
        await self._judge_lag(connection, snapshot, now_s)
        await self._judge_dead_letters(connection, snapshot, letters)
        if now_s >= self._prune_at_s:
            more = await store.prune(connection)
            self._prune_at_s = now_s + (0.0 if more else _PRUNE_EVERY_S)

    async def _judge_lag(self, connection: asyncpg.Connection, snapshot: Snapshot, now_s: float) -> None:
        self._history.add(now_s, snapshot.confirmed)
        for consumer, positions in snapshot.positions.items():
            lag = self._history.lag(now_s, positions)
            was_open = ("consumer-lag", consumer) in snapshot.open
            calm_since_s = self._alarms.get(consumer, Alarm()).calm_since_s
            alarm = judge(Alarm(was_open, calm_since_s), lag, now_s)
            self._alarms[consumer] = alarm
            if alarm.open and not was_open:
                await store.open_incident(connection, _of_lag(self._region_of(consumer), consumer, lag))
            elif was_open and not alarm.open:
                await store.close_incident(connection, "consumer-lag", consumer)

    async def _judge_dead_letters(
        self, connection: asyncpg.Connection, snapshot: Snapshot, letters: Mapping[str, int] | None
    ) -> None:
        """A consumer whose effects are in PostgreSQL has its skipped positions there, too; for the others there are
        only the dead letters."""
        found = {**(letters or {}), **snapshot.skipped}
        for consumer, count in found.items():
            if ("dead-letter", consumer) not in snapshot.open:
                incident = _of_dead_letters(self._region_of(consumer), consumer, count)
                await store.open_incident(connection, incident)
        if letters is None:
            return
        for kind, subject in snapshot.open:
            if kind == "dead-letter" and subject not in found:
                await store.close_incident(connection, kind, subject)

    def _region_of(self, consumer: str) -> Region:
        """The region of a consumer: syd for `mobile-sync-syd`; the monitor's own if the name has none."""
        suffix = consumer.rpartition("-")[2]
        return next((region for region in REGIONS if region == suffix), self._region)


async def run(settings: Settings, log: logging.Logger, client: Client) -> None:
    """Run a round every second until cancelled; an error ends its round only. `client` is the relay's connection to the
    bus."""
    dependencies = DependencyState(log)
    session = Session(settings, "watch")
    monitor = IncidentMonitor(msgspec.convert(settings.region, Region))
    logged: set[str] = set()
    try:
        while True:
            try:
                await _round(monitor, session, client)
                dependencies.back(_DATABASE)
            except Unavailable as error:
                dependencies.away(_DATABASE, error)
            except Exception as error:
                # The relay runs in the same task group and must not end because of the monitor.
                if repr(error) not in logged and len(logged) < 100:
                    logged.add(repr(error))
                    log.exception("a round of the watch failed, it goes on")
            await asyncio.sleep(_EVERY_S)
    finally:
        session.close()


async def _round(monitor: IncidentMonitor, session: Session, client: Client) -> None:
    letters = await _letters(client)
    await session.run(lambda connection: monitor.round(connection, time.monotonic(), letters))


async def _letters(client: Client) -> Mapping[str, int] | None:
    """Consumer -> number of dead letters; None if the bus does not answer."""
    prefix = DEAD_LETTERS_SUBJECTS.removesuffix(">")
    try:
        js = client.jetstream(timeout=_BUS_WITHIN_S)
        info = await js.stream_info(DEAD_LETTERS, subjects_filter=DEAD_LETTERS_SUBJECTS)
    except (Error, OSError):
        return None
    letters: Counter[str] = Counter()
    for subject, count in (info.state.subjects or {}).items():
        letters[subject.removeprefix(prefix).partition(".")[0]] += count
    return letters


def _of_lag(region: Region, consumer: str, lag: Lag) -> SystemIncident:
    detail = (
        f"{lag.events} events are not applied, the oldest has waited {lag.age_s:.0f} s or more; "
        f"expected at most {EVENTS_MAX} events and {AGE_MAX_S:.0f} s. This closes by itself when it has caught up."
    )
    return SystemIncident(region, "consumer-lag", "warning", consumer, f"{consumer} lags", detail)


def _of_dead_letters(region: Region, consumer: str, count: int) -> SystemIncident:
    detail = (
        f"It could not apply {count} or more events and went on without them; they are kept as dead letters. Mend what "
        "they failed for, then replay them; this closes by itself when none is left."
    )
    return SystemIncident(region, "dead-letter", "critical", consumer, f"{consumer} put events aside", detail)
