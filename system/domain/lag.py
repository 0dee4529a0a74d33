"""Consumer lag: how many events a consumer has not applied, for how long, and when that is an incident.

Once a second the relay's confirmed positions say what a consumer could have applied. Events younger than a grace period
do not count: at a high rate thousands are always in flight, and regional consumers report their positions only once a
second. An event's wait begins when it was first seen in the stream, not at its own time: otherwise consumers would be
blamed for a relay that was down.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

EVENTS_MAX = 1_000
AGE_MAX_S = 10.0
_CALM_EVENTS, _CALM_AGE_S, _CALM_FOR_S = 100, 3.0, 5.0
_GRACE_S = 3.0
_REMEMBER_S = 2 * AGE_MAX_S


class Lag(NamedTuple):
    """How many events a consumer could have applied and has not, and for how long the oldest has waited, in seconds (at
    most the length of the remembered history)."""

    events: int
    age_s: float


class ConfirmedHistory:
    """The confirmed positions of the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, Mapping[str, int]]] = deque()

    def add(self, now_s: float, confirmed: Mapping[str, int]) -> None:
        """Add the confirmed positions (partition -> last in the stream) as of `now_s`, which never goes back."""
        self._seen.append((now_s, confirmed))
        while len(self._seen) > 1 and self._seen[1][0] <= now_s - _REMEMBER_S:
            self._seen.popleft()

    def lag(self, now_s: float, positions: Mapping[str, int]) -> Lag:
        """The lag of a consumer with these positions. Partitions that are not named do not count."""
        events, since_s = 0, now_s
        for partition, position in positions.items():
            settled = 0
            for seen_s, confirmed in self._seen:
                if confirmed.get(partition, 0) > position:
                    since_s = min(since_s, seen_s)
                if seen_s <= now_s - _GRACE_S:
                    settled = confirmed.get(partition, 0)
            events += max(0, settled - position)
        return Lag(events, now_s - since_s)


@dataclass(frozen=True)
class Alarm:
    """Whether an incident is open, and since when the lag has been low enough to close it."""

    open: bool = False
    calm_since_s: float | None = None


def judge(alarm: Alarm, lag: Lag, now_s: float) -> Alarm:
    """The alarm after a measurement. It opens at once if the lag is too large, and closes after the lag has been small
    for some seconds, so that a consumer near the limit does not make it flap."""
    if lag.events > EVENTS_MAX or lag.age_s > AGE_MAX_S:
        return Alarm(open=True)
    if not alarm.open or lag.events > _CALM_EVENTS or lag.age_s > _CALM_AGE_S:
        return Alarm(open=alarm.open)
    since_s = now_s if alarm.calm_since_s is None else alarm.calm_since_s
    return Alarm(open=now_s - since_s < _CALM_FOR_S, calm_since_s=since_s)
