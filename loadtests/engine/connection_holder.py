"""Opens very many connections to the bus at a fixed rate, holds them beside a load, and proves at its end that each is
there: every one has to answer a PING, and the servers are asked how many they count.

The schedule is open-loop: a connection is meant to be opened at its instant, whatever became of the others, and the
time until a server takes it counts from there, over all attempts. Those that were lost are not opened again: a
real client would have noticed the loss.
"""

from __future__ import annotations

import asyncio
import resource
import ssl
import time
import urllib.request
from collections import Counter, deque
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from infra import target as targets
from infra.machine.spec import EngineError
from infra.machine.waiting import eventually
from infra.target import Login, Target
from loadtests.arrivals.pacer import Pacer
from loadtests.arrivals.schedule import Schedule
from loadtests.clients.nats_idle import Connection
from loadtests.engine.process import Control, run_engine
from loadtests.recording.live import LiveStats
from loadtests.recording.tally import Part
from reports.evidence import Connections, Latencies, Recorder, RunFolder, percentile_ms
from reports.evidence.folder import write_record

_LOOK_S = 0.25
_ATTEMPT_S = 10.0
"""An attempt that takes longer is given up and made again."""
_AGAIN_S = 1.0
"""From the failure of an attempt to the next one: as long as the servers of a storm are given by kind clients."""
_ANSWERS_S = 15.0
_PINGS_A_TURN = 200
_COUNTED_BEFORE_END = 0.25
"""Of the time in which all are to be there; other holders close theirs soon after the end."""
_REASONS_MAX = 5
_MONITOR_S = 5.0
_FIND_S = 5.0


class ConnectionHolderSpec(msgspec.Struct, frozen=True, kw_only=True):
    scenario: str
    folder: str
    target: str
    part: str
    name: str
    connections: int
    """To open and hold, of this process."""
    per_s: float
    limited_by: str | None
    asks: bool
    """Whether this is the one of all holders that asks the servers for their count."""
    warmup_s: float
    duration_s: float
    held_s: float
    """So long before the end of the measured window all are to be there."""
    offset_s: float = 0.0


class Holder:
    """Opens, keeps the account, and closes."""

    def __init__(self, target: Target) -> None:
        self._login: Login = target.nats_crowd or target.nats_load
        self._context = target.context()
        self.addresses: list[tuple[str, int]] = []
        self._pending: dict[int, tuple[Connection, float]] = {}
        self._again: deque[tuple[float, int, int]] = deque()
        self._held: dict[int, Connection] = {}
        self._answered: set[int] | None = None
        self._closing = False
        self.taking = Recorder()
        self.live = LiveStats()
        self.reasons: Counter[str] = Counter()
        self.opened = self.retried = self.lost = 0
        self.own_problem: str | None = None

    @property
    def settled(self) -> bool:
        """No attempt is under way or to be made again."""
        return not self._pending and not self._again

    def open(self, number: int, intended_ns: int) -> None:
        """Open connection `number`; they go to the servers in turn, another one at each attempt."""
        address = self.addresses[(number + self.retried) % len(self.addresses)]
        try:
            connection = Connection(self, self._login, self._context, address, number=number, intended_ns=intended_ns)
        except OSError as error:
            # No descriptor, no port, no memory: ours, not the server's.
            self.own_problem = f"no socket for connection {number:,}: {error}"
            self._failed(number, intended_ns, str(error))
            return
        self._pending[number] = connection, time.monotonic() + _ATTEMPT_S

    def look(self) -> None:
        """Give up what takes too long, and make again what failed long enough ago."""
        now = time.monotonic()
        late = []
        for connection, deadline in self._pending.values():
            if deadline > now:
                break  # They are in the order of their deadlines.
            late.append(connection)
        for connection in late:
            connection.close()
            self.on_ended(connection, f"not taken within {_ATTEMPT_S:.0f} s")
        while self._again and self._again[0][0] <= now:
            _, number, intended_ns = self._again.popleft()
            self.retried += 1
            self.open(number, intended_ns)

    def on_answer(self, connection: Connection) -> None:
        if not connection.taken:
            connection.taken = True
            self._pending.pop(connection.number, None)
            self._held[connection.number] = connection
            self.opened += 1
            self._took(connection.intended_ns, "")
        elif self._answered is not None:
            self._answered.add(connection.number)

    def on_ended(self, connection: Connection, reason: str) -> None:
        if self._closing:
            return
        if connection.taken:
            self.lost += 1
            self.reasons[f"lost: {reason}"] += 1
            self._held.pop(connection.number, None)
        else:
            self._pending.pop(connection.number, None)
            self._failed(connection.number, connection.intended_ns, reason)

    def _failed(self, number: int, intended_ns: int, reason: str) -> None:
        self.reasons[reason] += 1
        self._took(intended_ns, reason)
        self._again.append((time.monotonic() + _AGAIN_S, number, intended_ns))

    def _took(self, intended_ns: int, error: str) -> None:
        took_us = (time.monotonic_ns() - intended_ns) // 1000
        if not error:
            self.taking.record_us(took_us)
        self.live.add("NATS", "connect", took_us / 1000, error)

    async def prove(self) -> int:
        """How many answer a PING now, each within its deadline."""
        answered = self._answered = set()
        for place, connection in enumerate(list(self._held.values())):
            connection.ping()
            if place % _PINGS_A_TURN == 0:
                await asyncio.sleep(0)
        await eventually(lambda: len(answered) >= len(self._held), _ANSWERS_S)
        return len(answered)

    def close(self) -> None:
        self._closing = True
        self._again.clear()
        for connection in (*self._held.values(), *(each for each, _ in self._pending.values())):
            connection.close()

    async def find_servers(self, target: Target) -> None:
        """Those nodes that take us: a target also names where the bus may be after a loss. EngineError without any."""
        tried = [(urlsplit(url).hostname or "", urlsplit(url).port or 0) for url in target.nats]
        first = _Try()
        for number, address in enumerate(tried):
            try:
                first.connections[number] = Connection(
                    first, self._login, self._context, address, number=number, intended_ns=time.monotonic_ns()
                )
            except OSError as error:
                first.reasons[number] = str(error)
        await eventually(lambda: len(first.taken) + len(first.reasons) >= len(tried), _FIND_S)
        for connection in first.connections.values():
            connection.close()
        self.addresses = [tried[number] for number in sorted(first.taken)]
        if not self.addresses:
            found = "; ".join(f"{tried[n][0]}:{tried[n][1]}: {why}" for n, why in first.reasons.items())
            raise EngineError(
                f"expected a NATS server that takes us within {_FIND_S:.0f} s, found {found or 'no answer'}; "
                "is the system up? ./covenant status"
            )


class _Try:
    """The owner of one connection to each server, made to find out which of them take us."""

    def __init__(self) -> None:
        self.connections: dict[int, Connection] = {}
        self.taken: set[int] = set()
        self.reasons: dict[int, str] = {}

    def on_answer(self, connection: Connection) -> None:
        self.taken.add(connection.number)

    def on_ended(self, connection: Connection, reason: str) -> None:
        self.reasons[connection.number] = reason


def raise_open_files() -> None:
    """To what this process is allowed at most."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def servers_say(target: Target) -> tuple[int, int] | None:
    """(connections, resident bytes) of all nodes of the bus by their monitoring; None if one does not answer."""
    context = target.context()
    pages = await asyncio.gather(
        *(asyncio.to_thread(_varz, url, context) for url in target.nats_monitor), return_exceptions=True
    )
    known = [page for page in pages if isinstance(page, _Varz)]
    if not known or len(known) < len(pages):
        return None
    return sum(page.connections for page in known), sum(page.mem for page in known)


class _Varz(msgspec.Struct):
    connections: int
    mem: int


def _varz(url: str, context: ssl.SSLContext | None) -> _Varz:
    with urllib.request.urlopen(f"{url}/varz", timeout=_MONITOR_S, context=context) as answer:
        return msgspec.json.decode(answer.read(), type=_Varz)


async def work(spec: ConnectionHolderSpec, control: Control) -> None:
    raise_open_files()
    target = targets.read(Path(spec.target))
    holder = Holder(target)
    await holder.find_servers(target)
    before = await servers_say(target) if spec.asks else None
    begin_ns = await control.begin()
    if begin_ns is None:
        return
    first_ns = begin_ns + round(spec.offset_s * 1e9)
    end_ns = begin_ns + round((spec.warmup_s + spec.duration_s) * 1e9)
    pacer = _opening(holder, spec, first_ns) if spec.connections else None
    count_ns = end_ns - round(spec.held_s * _COUNTED_BEFORE_END * 1e9)
    counted = await _hold(holder, control, target if spec.asks else None, count_ns)
    if pacer is not None:
        pacer.stop()
    if time.monotonic_ns() < end_ns:
        holder.own_problem = "the load was ended early"
    held = await holder.prove()
    holder.close()
    taking = holder.taking.close()
    RunFolder(Path(spec.folder)).write_connections(
        Connections(
            scenario=spec.scenario, name=spec.name, wanted=spec.connections, limited_by=spec.limited_by,
            per_s=spec.per_s, opened=holder.opened, retried=holder.retried, lost=holder.lost, held=held,
            counted=counted[0] if counted else None,
            memory_bytes=(before[1], counted[1]) if before and counted else None,
            taking=taking, begin_ns=first_ns, end_ns=time.monotonic_ns(),
            reasons=dict(holder.reasons.most_common(_REASONS_MAX)), own_problem=holder.own_problem,
        )
    )  # fmt: skip
    settings = {spec.name: _words(spec, held, taking)}
    write_record(Path(spec.part), Part(measured_ns=begin_ns, end_ns=end_ns, operations=[], settings=settings))


def instants(first_ns: int, connections: int, per_s: float) -> Schedule:
    """When each of them is opened."""
    # Half a place short of the next one, whatever is lost in the division: 19,500 at 26.7 a second would be 19,501.
    return Schedule(first_ns, per_s, 0, (connections - 0.5) / per_s)


def _opening(holder: Holder, spec: ConnectionHolderSpec, first_ns: int) -> Pacer:
    """What opens the connections, each at its instant."""
    schedule = instants(first_ns, spec.connections, spec.per_s)

    def release(first: int, end: int, now_ns: int) -> None:
        for number in range(first, end):
            holder.open(number, schedule.intended_ns(number))

    return Pacer(schedule, release)


async def _hold(holder: Holder, control: Control, target: Target | None, count_ns: int) -> tuple[int, int] | None:
    """Until the load has ended; what the servers of `target` say at `count_ns`."""
    stop = asyncio.ensure_future(control.finish.wait())
    counted: tuple[int, int] | None = None
    while not stop.done():
        await asyncio.wait({stop}, timeout=_LOOK_S if target is None else min(_LOOK_S, _until_s(count_ns)))
        holder.look()
        control.say_all(holder.live.take())
        if target is not None and time.monotonic_ns() >= count_ns:
            counted = await servers_say(target)
            target = None
    return counted


def _until_s(instant_ns: int) -> float:
    return max(0.001, (instant_ns - time.monotonic_ns()) / 1e9)


def _words(spec: ConnectionHolderSpec, held: int, taking: Latencies) -> str:
    told = f"{held:,} of {spec.connections:,} connections, opened {spec.per_s:,.0f} a second"
    if taking.samples:
        told += f"; taken after {percentile_ms(taking, 50):.1f} ms (median), {percentile_ms(taking, 99):.1f} ms (p99)"
    return told


if __name__ == "__main__":
    run_engine(ConnectionHolderSpec, work)
