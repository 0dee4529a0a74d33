"""Whether each claim is possible or impossible, or what it depends on, in one line.

A claim is impossible if even the best possible value misses it, and possible if nothing that is known beforehand rules
it out. Whether it is met, only a measurement shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from infra.preflight.faults import BUDGET_S
from infra.preflight.inputs import BUS, REPLICAS, Claim, Inputs
from infra.topology.model import Node
from reports.evidence import FaultBound, Feasible, Possibility, Quorum, RegionFloor


class Known:
    """What the preflight has computed so far; the verdicts on claims are derived from it."""

    def __init__(
        self, inputs: Inputs, regions: Sequence[RegionFloor], faults: Sequence[FaultBound], quorums: Sequence[Quorum]
    ) -> None:
        self.inputs = inputs
        self.regions = {floor.region: floor for floor in regions}
        self.faults = [fault for fault in faults if fault.applies]
        self.quorums = quorums

    @property
    def layout(self) -> str:
        return self.inputs.options.bus


def possibilities(known: Known, claims: Iterable[Claim]) -> list[Possibility]:
    """The verdict on every claim."""
    return [_possibility(known, claim) for claim in claims]


def _possibility(known: Known, claim: Claim) -> Possibility:
    if claim.region is not None and claim.region not in known.regions:
        return _depends(claim, f"{claim.region} is not part of size {known.inputs.size}")
    if claim.family in _POSSIBLE:
        return _answer(claim, "possible", _POSSIBLE[claim.family])
    if claim.family in _DEPENDS:
        return _depends(claim, _DEPENDS[claim.family])
    work_out = _WORKED_OUT.get(claim.family)
    return work_out(known, claim) if work_out else _depends(claim, "nothing is known of it beforehand")


def _answer(
    claim: Claim, verdict: Feasible, why: str, best: float | None = None, *, by_distance: bool = False
) -> Possibility:
    return Possibility(
        row=claim.row, verdict=verdict, best=best, unit=claim.bound.unit, why=why, by_distance=by_distance
    )


def _depends(claim: Claim, why: str, best: float | None = None) -> Possibility:
    return _answer(claim, "depends", why, best)


def _ms(value: float) -> str:
    return f"{value:g} ms"


# Distances.


def _here(floor: Callable[[Known, RegionFloor], float | None], text: str) -> Callable[[Known, Claim], Possibility]:
    """A claim of one region, against that region's floor."""

    def work_out(known: Known, claim: Claim) -> Possibility:
        best = floor(known, known.regions[str(claim.region)])
        if best is None:
            return _depends(claim, f"{claim.region} has no PostgreSQL member in size {known.inputs.size}")
        met = claim.bound.met_by(best)
        why = f"{text.format(region=claim.region, home=known.inputs.primary.region)} {_ms(best)}"
        return _answer(claim, "possible" if met else "impossible", why, best, by_distance=True)

    return work_out


def _anywhere(floor: Callable[[Known, RegionFloor], float | None], text: str) -> Callable[[Known, Claim], Possibility]:
    """A claim without a region: impossible where no region can meet it, possible where every one can."""

    def work_out(known: Known, claim: Claim) -> Possibility:
        floors = {name: value for name, region in known.regions.items() if (value := floor(known, region)) is not None}
        if not floors:
            return _depends(claim, f"nothing of the kind stands in size {known.inputs.size}")
        where = _stream_location(known)
        best = min(floors.values())
        beyond = {name: value for name, value in floors.items() if not claim.bound.met_by(value)}
        least = f"{text} at least {_ms(best)} with {where}"
        if len(beyond) == len(floors):
            return _answer(claim, "impossible", least, best, by_distance=True)
        if not beyond:
            return _answer(
                claim, "possible", f"{least}, {_ms(max(floors.values()))} in the worst region", best, by_distance=True
            )
        far = ", ".join(f"{name} {_ms(value)}" for name, value in sorted(beyond.items(), key=lambda pair: pair[1]))
        why = f"depends on the region: {least}; out of reach in {far}"
        return _answer(claim, "depends", why, best, by_distance=True)

    return work_out


def _everywhere(
    floor: Callable[[Known, RegionFloor], float | None], text: str
) -> Callable[[Known, Claim], Possibility]:
    """A claim on the p99 of something that every region receives. The worst region decides, since it receives more than
    a hundredth of all."""

    def work_out(known: Known, claim: Claim) -> Possibility:
        floors = {name: value for name, region in known.regions.items() if (value := floor(known, region)) is not None}
        if not floors:
            return _depends(claim, f"nothing of the kind stands in size {known.inputs.size}")
        floor_ms, region = max((value, name) for name, value in floors.items())
        why = f"{text} at least {_ms(floor_ms)} in {region} with {_stream_location(known)}"
        feasible: Feasible = "possible" if claim.bound.met_by(floor_ms) else "impossible"
        return _answer(claim, feasible, why, floor_ms, by_distance=True)

    return work_out


def _stream_location(known: Known) -> str:
    regions = list(dict.fromkeys(node.region for node in known.inputs.nodes(BUS)))
    return f"the stream in {regions[0]}" if len(regions) == 1 else f"a stream stretched over {', '.join(regions)}"


# Recovery.


def _rto(known: Known, claim: Claim) -> Possibility:
    beyond = [fault for fault in known.faults if not claim.bound.met_by(fault.rto_min_s)]
    best = max(fault.rto_min_s for fault in known.faults)
    if beyond:
        worst = max(beyond, key=lambda fault: fault.rto_min_s)
        return _answer(claim, "impossible", f"{worst.what}: at least {worst.rto_min_s:g} s ({worst.rto_how})", best)
    ordered = [fault.what for fault in known.faults if fault.rto_max_s is None]
    alone = [fault for fault in known.faults if fault.rto_max_s is not None]
    slow = [fault for fault in alone if not claim.bound.met_by(fault.rto_max_s or 0.0)]
    if slow:
        worst = max(slow, key=lambda fault: fault.rto_max_s or 0.0)
        return _depends(claim, f"{worst.what}: up to {worst.rto_max_s:g} s ({worst.rto_how})", best)
    most = max((fault.rto_max_s or 0.0 for fault in alone), default=0.0)
    if ordered:
        why = f"by itself at most {most:g} s; not by itself, so it depends on who acts when: {'; '.join(ordered)}"
        return _depends(claim, why, best)
    return _answer(claim, "possible", f"at most {most:g} s", best)


def _rpo(known: Known, claim: Claim) -> Possibility:
    losing = [fault for fault in known.faults if fault.lost != "nothing"]
    if not losing:
        return _answer(claim, "possible", "no fault takes a write that was acknowledged", 0.0)
    text = "; ".join(dict.fromkeys(f"{fault.what}: {fault.lost}" for fault in losing))
    return _depends(claim, f"on the lag at that moment: {text}")


def _availability(known: Known, claim: Claim) -> Possibility:
    alone = [fault for fault in known.faults if fault.rto_max_s]
    worst = max(alone, key=lambda fault: fault.rto_max_s or 0.0)
    worst_s = worst.rto_max_s or 0.0
    why = (
        f"on how many faults a month has: {BUDGET_S:.0f} s may fail, {BUDGET_S // worst_s:.0f} times the worst that "
        f"heals by itself ({worst_s:g} s: {worst.what})"
    )
    return _depends(claim, why)


# The bus, the machine, the options.


def _replication(known: Known, claim: Claim) -> Possibility:
    count = float(min(REPLICAS, len(known.inputs.nodes(BUS))))
    ends = next((quorum.ends_with for quorum in known.quorums if f"bus {known.layout} " in quorum.what), [])
    why = f"{len(known.inputs.nodes(BUS))} brokers, {REPLICAS} copies: one may be lost"
    why += f"; the loss of {', '.join(ends)} ends the majority" if ends else "; any one region, too"
    return _answer(claim, "possible" if claim.bound.met_by(count) else "impossible", why, count)


def _connections(known: Known, claim: Claim) -> Possibility:
    files, brokers = known.inputs.machine.open_files_max, _most_in_a_region(known.inputs.nodes(BUS))
    limit = files * brokers
    met = claim.bound.met_by(limit)
    why = f"each of {brokers} brokers in a region may have {files:,} files open on this machine (ulimit -Hn)"
    return _answer(claim, "possible" if met else "impossible", why if met else f"{why}: raise it", float(limit))


def _most_in_a_region(nodes: Sequence[Node]) -> int:
    return max(Counter(node.region for node in nodes).values(), default=0)


def _gateways(known: Known, claim: Claim) -> Possibility:
    if known.inputs.nodes("gateway"):
        return _answer(claim, "possible", "two clusters stand in two regions")
    return _depends(claim, f"no gateway stands in size {known.inputs.size}")


def _throughput(known: Known, claim: Claim) -> Possibility:
    always = known.inputs.options.sync_interval == "always"
    seen = "60,000 to 75,000" if always else "60,000 to 144,000"
    why = (
        f"on the machine: two quiet cores gave {seen} msg/s of 128 B with sync_interval "
        f"{known.inputs.options.sync_interval}; the processors are what bounds it"
    )
    return _depends(claim, why)


def _transit(known: Known, claim: Claim) -> Possibility:
    if known.inputs.options.tls == "off":
        return _answer(claim, "impossible", "tls is off")
    return _depends(claim, "tls is on; Valkey's build has none, it is reached within its region alone")


def _rest(known: Known, claim: Claim) -> Possibility:
    if known.inputs.options.encryption == "off":
        return _answer(claim, "impossible", "encryption is off")
    return _depends(claim, "the bus's store is encrypted; PostgreSQL wants an encrypted volume beneath it")


def _points(known: Known, claim: Claim) -> Possibility:
    points = 195.0 * 50 * 6
    met = claim.bound.met_by(points)
    return _answer(claim, "possible" if met else "impossible", f"195 x 50 x 6 = {points:,.0f}", points)


def _projects(known: Known, claim: Claim) -> Possibility:
    projects = 50.0 * 6
    met = claim.bound.met_by(projects)
    return _answer(claim, "possible" if met else "impossible", f"50 x 6 = {projects:g}", projects)


_WORKED_OUT: dict[str, Callable[[Known, Claim], Possibility]] = {
    "api.read_p99": _here(lambda _, region: region.read_ms, "reads in {region} are answered by the nearest member:"),
    "api.write_p99": _here(
        lambda known, region: region.write_ms[known.inputs.options.durability],
        "from {region} to the primary in {home} and back, and what a commit waits for:",
    ),
    "recovery.lag": _here(lambda _, region: region.lag_ms, "one way from the primary in {home} to {region}:"),
    "bus.publish_p99": _anywhere(lambda known, region: region.publish_ms.get(known.layout), "an acknowledgement takes"),
    "bus.delivery_p99": _anywhere(lambda known, region: region.delivery_ms.get(known.layout), "a delivery takes"),
    "bus.end_to_end_p99": _anywhere(
        lambda known, region: region.publish_ms.get(known.layout), "there and back to the same region takes"
    ),
    "realtime.p99": _everywhere(lambda known, region: region.realtime_ms.get(known.layout), "commit to browser takes"),
    "availability": _availability,
    "recovery.rto": _rto,
    "recovery.rpo_loss": _rpo,
    "bus.throughput": _throughput,
    "bus.replication": _replication,
    "bus.connections": _connections,
    "bus.gateways": _gateways,
    "security.transit": _transit,
    "security.rest": _rest,
    "data.points": _points,
    "data.projects": _projects,
}
_POSSIBLE = {
    "bus.exactly_once": "gapless positions move in the effect's own transaction; a push notification is at least once",
    "ledger.contents": "what is stored is what was sent, and each event carries it whole",
    "api.consistency": "a write's answer names it, and a read that names it waits for it or asks the primary",
    "recovery.redundancy": "what a supervisor starts again catches up from the others",
    "system.parts": "every part has a supervisor and a limit",
    "bus.limits": "limits are settings; 8 MB is below what a broker takes (64 MB)",
    "push.delivery": "at least once, with retries until it expires",
    "sync.convergence": "every edit is kept until the server has decided",
    "web.install": "icons and manifest are files",
    "web.a11y": "nothing stands against it",
    "web.e2e": "nothing stands against it",
    "data.countries": "the table has 195",
    "security.access": "every action asks for a role",
    "security.audit": "each entry holds the hash of the one before it",
    "security.secrets": "secrets come from files and the environment, and are in no log",
    "soak.memory": "every cache and every queue has a limit",
    "soak.files": "every pool has a limit",
    "soak.drift": "the streams have limits, and tables are read by their keys",
    "harness.alarms": "each planted bug names the rows that must turn red",
    "harness.honesty": "an open-loop generator knows when it is late",
}
_DEPENDS = {
    "bus.relayed": "on the machine: relay, brokers and databases share its processors",
    "bus.applied": "on the machine: consumers, brokers and databases share its processors",
    "sync.bandwidth": "on how often what is read changes",
    "web.bundle": "on what is built into it",
    "security.network": "on the cluster: policies are enforced by its network, processes on one machine have none",
    "infra.terraform": "on an AWS emulator here, on an account elsewhere",
    "infra.kubernetes": "on a cluster: manifests can be checked without one",
    "cost.monthly": "on the prices of the day and the traffic between regions",
    "observability.trace": "on every hop passing the trace on",
}
