"""The evidence for the row bus.replication: each node's own copy of each stream, not only what the leader says of it.

A leader may count a follower as current whose copy lacks messages, so every node is asked what it holds itself. Health
probes publish meanwhile; a copy that is only on its way is asked again, up to a deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from checks import NotChecked
from infra.fabric.protocol import Fabric
from infra.machine.waiting import until
from infra.parts import nats
from infra.parts.covenant import STREAM_REPLICAS
from infra.site import bus_layout
from reports.evidence import Count, RunFolder
from system import wire

ROW = "bus.replication"
_AGREE_WITHIN_S = 15.0
_EVERY_S = 0.25


class Copy(NamedTuple):
    """What one node holds of a stream, by its own word."""

    replicas: int
    """R, as the node has it in its configuration."""
    messages: int
    first_seq: int
    last_seq: int

    @property
    def contents(self) -> tuple[int, int, int]:
        return self.messages, self.first_seq, self.last_seq


class StreamCopies(NamedTuple):
    """A stream: node -> its copy, None if it has none; the leader, and how many peers that counts as current."""

    name: str
    copies: Mapping[str, Copy | None]
    leader: str | None
    current: int

    def agreeing(self) -> list[str]:
        """The nodes whose copy is the leader's; empty without a leader."""
        led = self.copies.get(self.leader) if self.leader else None
        return [node for node, held in self.copies.items() if held and led and held.contents == led.contents]

    def whole(self) -> bool:
        return len(self.agreeing()) == len(self.copies) == self.current + 1


def record(system: Fabric, folder: RunFolder, within_s: float = _AGREE_WITHIN_S) -> None:
    """Ask every node for its copies, and write Counts. NotChecked if no node of the bus answers."""
    found = settled(lambda: read(system), within_s)
    if not any(held for stream in found for held in stream.copies.values()):
        raise NotChecked("no node of the bus shows a copy of any stream: see ./covenant status")
    with folder.facts() as facts:
        facts.add(*(fact for stream in found for fact in facts_of(stream)))


def expected(system: Fabric) -> dict[str, int]:
    """How many facts `record` adds to its row."""
    return {ROW: len(wire.STREAMS) * (2 + len(bus_layout.bus(system.place)))}


def settled(look: Callable[[], list[StreamCopies]], within_s: float) -> list[StreamCopies]:
    """Each stream as it was when all its copies were equal, or as it is at the deadline."""
    whole: dict[str, StreamCopies] = {}

    def all_whole() -> list[StreamCopies] | None:
        for stream in look():
            if not (stream.name in whole and whole[stream.name].whole()):
                whole[stream.name] = stream
        return list(whole.values()) if all(each.whole() for each in whole.values()) else None

    return until(all_whole, within_s, every_s=_EVERY_S) or list(whole.values())


def read(system: Fabric) -> list[StreamCopies]:
    """What every node says of every stream now."""
    nodes = bus_layout.bus(system.place)
    held = {node.name: {one["name"]: one for one in nats.streams(system.place, node, "&config=true")} for node in nodes}
    states = nats.stream_states(system.place)
    return [_stream(stream.name, held, states.get(stream.name, {})) for stream in wire.STREAMS]


def _stream(name: str, held: Mapping[str, Mapping[str, dict[str, Any]]], led: Mapping[str, Any]) -> StreamCopies:
    copies = {node: _copy(streams[name]) if name in streams else None for node, streams in held.items()}
    peers = [peer for peer in led.get("replicas", []) if peer.get("current") and not peer.get("offline")]
    return StreamCopies(name, copies, led.get("leader"), len(peers))


def _copy(page: dict[str, Any]) -> Copy:
    state = page["state"]
    return Copy(page["config"]["num_replicas"], state["messages"], state["first_seq"], state["last_seq"])


def facts_of(stream: StreamCopies) -> Sequence[Count]:
    """The number of equal copies, and a fact for each node and for the leader's word."""
    agreeing = stream.agreeing()
    number = Count(
        row=ROW, value=float(len(agreeing)), unit="replicas", how=f"{stream.name}: copies equal the leader's"
    )
    cells = [
        _cell(f"{stream.name} on {node}: R{STREAM_REPLICAS}, all that the leader holds", _in_words(held), ok)
        for node, held in stream.copies.items()
        for ok in [held is not None and held.replicas == STREAM_REPLICAS and node in agreeing]
    ]
    others = len(stream.copies) - 1
    said = f"{stream.leader or 'no leader'} counts {stream.current}"
    leads = _cell(f"{stream.name}: its leader counts {others} others as current", said, stream.current == others)
    return [number, *cells, leads]


def _cell(what: str, found: str, ok: bool) -> Count:
    return Count(row=ROW, value=0.0 if ok else 1.0, unit="wrong", how=what if ok else f"{what}; found {found}", ok=ok)


def _in_words(held: Copy | None) -> str:
    if held is None:
        return "no copy"
    return f"R{held.replicas}, {held.messages:,} messages, {held.first_seq:,} to {held.last_seq:,}"
