"""Amounts: how long streams cover an outage, which majorities a region's loss ends, and how many connections and
how much memory and disk the size needs, against what there is."""

from __future__ import annotations

from collections import Counter

from infra.preflight.inputs import BUS, DATABASE, REPLICAS, Inputs
from infra.topology.model import Node
from reports.evidence import Quorum, Resource, StreamCover
from system.wire import observer

RATES_PER_S = (10.0, 2_000.0, 100_000.0)
"""Messages a second: single changes on a busy day, the nightly's load on the bus, the seed's claim."""

API_WRITES, API_READS = 16, 6
"""Database connections of an API process to the primary, and to each member that it reads from."""
_RELAY, _CONSUMER, _REGIONAL_CONSUMER = 6, 2, 1
"""Database connections of a relay, of a consumer that runs once, and of one that runs in every region, which only
reports its positions."""
_BESIDES = {"notifications": 1}
"""Consumer -> its further connections; the sender of notifications has one of its own."""
_OTHERS = 10
"""Patroni, migrations, observers of each member."""
_RESERVED = 3
"""superuser_reserved_connections."""
_MEMORY_MIB = {
    "etcd": 45, "postgres": 130, "nats": 90, "valkey": 15, "s3": 190, "api": 95, "mirror": 90, "gateway": 40,
    "archiver": 80,
}  # fmt: skip
_WORKER_MIB = 75
"""For the relay and the consumers. All figures are of warm processes: private memory and a share of shared memory."""
_DISK_MIB = {"postgres": 700, "nats": 1_200, "mirror": 1_200, "etcd": 200, "s3": 500, "archiver": 300}
"""A day of runs: PostgreSQL's max_wal_size, wal_keep_size and data; the streams with some load; WAL archived."""
_OTHER_DISK_MIB = 10
_CORES = 2.0
"""What the profiles' lengths and rates are made for."""
_TAKEN = 0.1
"""The share of all cores that others may take before a miss is put down to them, as the policy has it."""
_MIB = 1 << 20


def stream_covers(inputs: Inputs) -> list[StreamCover]:
    """How long every stream covers an outage at every rate. A message holds 1 to 500 events; here it holds one, which
    is the worst case."""
    found = []
    for stream in inputs.streams:
        for rate in RATES_PER_S:
            by_count_s = stream.max_msgs / rate
            found.append(
                StreamCover(
                    stream=stream.name, msgs_max=stream.max_msgs, age_max_s=stream.max_age_s, rate_per_s=rate,
                    covers_s=min(by_count_s, stream.max_age_s),
                    limited_by="messages" if by_count_s < stream.max_age_s else "age",
                )
            )  # fmt: skip
    return found


def quorums(inputs: Inputs) -> list[Quorum]:
    """What needs a majority, and of which members."""
    etcd = inputs.nodes("etcd")
    found = [_quorum("etcd (the primary's lease)", etcd, len(etcd) // 2 + 1)] if etcd else []
    found += [_copies(inputs, layout) for layout in inputs.layouts if inputs.nodes(BUS, layout)]
    return found + _commits(inputs)


def _copies(inputs: Inputs, layout: str) -> Quorum:
    brokers = inputs.nodes(BUS, layout)[:REPLICAS]
    mirrors = [node.region for node in inputs.nodes("mirror", layout)]
    note = f"mirrors in {', '.join(mirrors)}: one becomes the bus when it is ordered to" if mirrors else ""
    return _quorum(f"streams, bus {layout} (of {REPLICAS} copies)", brokers, len(brokers) // 2 + 1, note)


def _quorum(what: str, nodes: list[Node], needs: int, note: str = "") -> Quorum:
    by_region = Counter(node.region for node in nodes)
    ends = [region for region, count in by_region.items() if len(nodes) - count < needs]
    return Quorum(what=what, members=len(nodes), needs=needs, ends_with=ends, note=note)


def _commits(inputs: Inputs) -> list[Quorum]:
    primary, *others = inputs.nodes(DATABASE)
    durability = inputs.options.durability
    match durability:
        case "async":
            return [_quorum("a commit (async)", [primary], 1, "an automatic promotion needs any one other member")]
        case "standby":
            return [
                _quorum(
                    "a commit (standby)", [primary, *others[:1]], 2,
                    "a standby that is given up is waited for no longer; only it is promoted by itself",
                )
            ]  # fmt: skip
        case "any-1":
            return [
                _quorum("a commit (any-1)", [primary, *others], 2, "the primary and whichever other is nearest"),
                _quorum(
                    "an automatic promotion (any-1)", others, len(others),
                    "besides the primary all that were there: any single one of them may have the newest write",
                ),
            ]  # fmt: skip


def resources(inputs: Inputs) -> list[Resource]:
    """What the size needs of this machine and of a PostgreSQL member, and what there is."""
    nodes = [node for node in inputs.topology.nodes(inputs.size, inputs.options.bus) if not node.standby]
    kinds = Counter(node.kind for node in nodes)
    memory = sum(_MEMORY_MIB.get(kind, _WORKER_MIB) * count for kind, count in kinds.items())
    disk = sum(_DISK_MIB.get(kind, _OTHER_DISK_MIB) * count for kind, count in kinds.items())
    return [
        _connections(inputs, kinds),
        Resource(
            what="memory", needs=memory, has=inputs.machine.memory_bytes // _MIB, unit="MiB",
            how=f"{len(nodes)} nodes: " + _breakdown(kinds, _MEMORY_MIB, _WORKER_MIB),
        ),
        Resource(
            what="disk", needs=disk, has=inputs.machine.disk_bytes // _MIB, unit="MiB",
            how=_breakdown(Counter({kind: kinds[kind] for kind in kinds if kind in _DISK_MIB}), _DISK_MIB),
        ),
        Resource(
            what="processors", needs=_CORES * (1 - _TAKEN), has=inputs.machine.cores, unit="cores",
            how=f"the profiles' rates are made for {_CORES:g} cores, of which others may take {_TAKEN:.0%}; what this "
            "process may use and others leave idle just now. Loads are tried before they are judged",
        ),
    ]  # fmt: skip


def _breakdown(kinds: Counter[str], sizes: dict[str, int], other: int = 0) -> str:
    """`3 nats x 90, ...`: how many of each kind, times what one of them needs."""
    return ", ".join(f"{count} {kind} x {sizes.get(kind, other)}" for kind, count in kinds.items())


def _connections(inputs: Inputs, kinds: Counter[str]) -> Resource:
    """Connections to the primary after the loss of its region's standby, when it serves that region's reads, too."""
    apis, at_home = kinds["api"], sum(node.region == inputs.primary.region for node in inputs.nodes("api"))
    workers = _RELAY * kinds["relay"]
    workers += sum((_CONSUMER + _BESIDES.get(kind, 0)) * kinds[kind] for kind in observer.once())
    workers += sum(_REGIONAL_CONSUMER * kinds[kind] for kind in observer.per_region())
    followers = kinds[DATABASE] - 1 + kinds["archiver"]
    return Resource(
        what="connections to the primary",
        needs=apis * API_WRITES + at_home * API_READS + workers + followers + _OTHERS,
        has=float(inputs.parameters["max_connections"]) - _RESERVED,
        unit="connections",
        how=f"{apis} APIs x {API_WRITES} to write, {at_home} in its region x {API_READS} to read, {workers} of relay "
        f"and consumers, {followers} that follow its WAL, {_OTHERS} for Patroni, migrations and observers; "
        f"max_connections less {_RESERVED} that are kept for superusers",
    )
