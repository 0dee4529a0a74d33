"""Whether a consumer lags: how many events it has not applied, for how long, and when that is worth an incident.

What a consumer should have applied is known from the relay, once a second. Events that are younger than the grace
are in flight and count for nothing: at a high rate there are always thousands of them, and a consumer of a region
only reports its position once a second. How long an event waits is counted from when it was first seen in the
stream, not from its own time: otherwise a relay that was down would be put down to the consumers.
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
    """What a consumer has not applied though it could have: how many events, and for how long the oldest has
    waited, at most as long as is remembered."""

    events: int
    age_s: float


class History:
    """How far the streams went, over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, Mapping[str, int]]] = deque()

    def add(self, now_s: float, confirmed: Mapping[str, int]) -> None:
        """Each partition's last position in its stream, as of now; `now_s` never goes back."""
        self._seen.append((now_s, confirmed))
        while len(self._seen) > 1 and self._seen[1][0] <= now_s - _REMEMBER_S:
            self._seen.popleft()

    def lag(self, now_s: float, positions: Mapping[str, int]) -> Lag:
        """How far a consumer with these positions is behind; a partition that it does not name is none of its."""
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
    """Whether there is an open incident, and since when it could be closed."""

    open: bool = False
    calm_since_s: float | None = None


def judge(alarm: Alarm, lag: Lag, now_s: float) -> Alarm:
    """The alarm after this lag: it opens at once when there is too much, and closes when there was next to none for
    some seconds, so that a consumer at the limit does not open and close it all the time."""
    if lag.events > EVENTS_MAX or lag.age_s > AGE_MAX_S:
        return Alarm(open=True)
    if not alarm.open or lag.events > _CALM_EVENTS or lag.age_s > _CALM_AGE_S:
        return Alarm(open=alarm.open)
    since_s = now_s if alarm.calm_since_s is None else alarm.calm_since_s
    return Alarm(open=now_s - since_s < _CALM_FOR_S, calm_since_s=since_s)
