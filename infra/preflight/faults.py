"""How long an outage each fault can cause and what it can lose, from Patroni's timings and where the parts are.

The few times that no setting bounds are constants here, with their source. The floor of a fault's RTO is the least that
its waits take; a measured value below it shows that the fault was another one.
"""

from __future__ import annotations

from infra.preflight.inputs import BUS, DATABASE, Inputs
from reports.evidence import FaultBound, PowerLoss

MONTH_S = 30 * 86_400
ALLOWED_DOWN = 0.0001
"""The share of time that 99.99% availability leaves."""
BUDGET_S = MONTH_S * ALLOWED_DOWN
ASK_MEMBERS_S = 2.0
"""Patroni gives the other members this long to answer before one is promoted (fixed in its source)."""
TAKE_OVER_S = 5.0
"""Replay, promotion, and reconnecting clients: 1 to 5 s were measured."""
BUS_ELECTION_S = (4.0, 9.0)
"""NATS: a follower waits this long without a leader before it stands for election (fixed in its source)."""
BUS_RETRY_S = 2.0
"""A publisher's wait for an answer before it tries again."""
RESTART_S = 3.0
"""A supervisor's restart of one process of the system, until it is ready."""
_SYNC_S = {"always": 0, "2m": 120}


def fault_bounds(inputs: Inputs) -> list[FaultBound]:
    """The bounds of every fault with these settings."""
    return [
        _primary_node(inputs, supervised=True),
        _primary_node(inputs, supervised=False),
        _database_process(inputs),
        _patroni_alone(inputs),
        _primary_cut_off(inputs),
        _synchronous_standby(inputs),
        _region(inputs),
        _other_region_cut_off(inputs),
        _lease_store(inputs),
        _broker(inputs),
        _own_process(inputs),
    ]


def notes(inputs: Inputs) -> list[str]:
    """What is unsound about the timings."""
    ttl, loop, retry = _timings(inputs)
    if loop + 2 * retry <= ttl:
        return []
    return [
        f"loop_wait {loop:g} + 2 x retry_timeout {retry:g} = {loop + 2 * retry:g} s is over ttl {ttl:g}: a primary "
        "that is cut off may still take writes when another one is promoted"
    ]


def _timings(inputs: Inputs) -> tuple[float, float, float]:
    """ttl, loop_wait, retry_timeout."""
    settings = inputs.timings
    return float(settings["ttl"]), float(settings["loop_wait"]), float(settings["retry_timeout"])


def _bound(
    name: str, what: str, rto_s: tuple[float, float | None], how: str, lost: tuple[str, str],
    experiments: list[str] | None = None, *, applies: bool = True,
) -> FaultBound:  # fmt: skip
    least_s, most_s = rto_s
    return FaultBound(
        id=name, what=what, rto_min_s=least_s, rto_max_s=most_s, rto_how=how, lost=lost[0], lost_how=lost[1],
        budget_share=None if most_s is None else most_s / BUDGET_S, experiments=experiments or [],
        applies=applies,
    )  # fmt: skip


def _lost_with_one_member(inputs: Inputs) -> tuple[str, str]:
    """Which acknowledged writes the loss of the primary alone takes, and why."""
    if inputs.options.durability != "async":
        return (
            "nothing",
            f"durability {inputs.options.durability}: another member has what is acknowledged",
        )
    behind = int(inputs.timings["maximum_lag_on_failover"])
    return (
        f"up to {behind:,} bytes of WAL",
        "durability async: what no other member has yet; one further behind (maximum_lag_on_failover) isn't promoted",
    )


def _after_lease(inputs: Inputs) -> tuple[float, float, str]:
    """(at least, at most, how), in seconds, of an outage in which the lost primary's lease has to run out."""
    ttl, loop, _ = _timings(inputs)
    most = ttl + loop + ASK_MEMBERS_S + TAKE_OVER_S
    how = (
        f"lease: ttl {ttl:g}, renewed each loop_wait {loop:g}, so {ttl - loop:g} to {ttl:g} s are left of it; "
        f"+ loop_wait + {ASK_MEMBERS_S:g} s to ask the members + {TAKE_OVER_S:g} s to take over"
    )
    return max(0.0, ttl - loop), most, how


def _primary_node(inputs: Inputs, *, supervised: bool) -> FaultBound:
    applies = (inputs.options.supervisor == "on") == supervised
    if supervised:
        name, what = "primary-node", "the primary's node is lost, with a supervisor"
        least, most = 0.0, ASK_MEMBERS_S + TAKE_OVER_S
        how = f"known to be dead, its lease is given back: {ASK_MEMBERS_S:g} s to ask the members + {TAKE_OVER_S:g} s"
        how += " to take over"
    else:
        name, what = "primary-node-alone", "the primary's node is lost, without a supervisor"
        least, most, how = _after_lease(inputs)
    experiments = ["pg-primary-kill"] if applies else []
    return _bound(name, what, (least, most), how, _lost_with_one_member(inputs), experiments, applies=applies)


def _database_process(inputs: Inputs) -> FaultBound:
    _, loop, _ = _timings(inputs)
    start = float(inputs.timings["primary_start_timeout"])
    waits = loop + start + loop if start else loop
    how = (
        f"loop_wait {loop:g} + primary_start_timeout {start:g} + loop_wait {loop:g}" if start
        else f"loop_wait {loop:g}, primary_start_timeout 0: not waited for"
    )  # fmt: skip
    return _bound(
        "primary-process", "the primary's PostgreSQL crashes and cannot start again",
        (start, waits + ASK_MEMBERS_S + TAKE_OVER_S),
        f"{how}; + {ASK_MEMBERS_S:g} s to ask the members + {TAKE_OVER_S:g} s to take over",
        _lost_with_one_member(inputs),
    )  # fmt: skip


def _patroni_alone(inputs: Inputs) -> FaultBound:
    if inputs.options.supervisor == "on":
        most = ASK_MEMBERS_S + TAKE_OVER_S
        how = f"its PostgreSQL is ended at once, then as for a lost node: {most:g} s"
        return _bound(
            "patroni-alone", "the primary's Patroni dies, its PostgreSQL lives", (0.0, most), how,
            _lost_with_one_member(inputs), ["patroni-kill"],
        )  # fmt: skip
    least, most, how = _after_lease(inputs)
    lost = (
        ("whatever the old primary takes beside the new one", "durability async, and nothing ends its PostgreSQL")
        if inputs.options.durability == "async"
        else ("nothing", "the old primary's commits wait for members that follow another one now")
    )
    return _bound(
        "patroni-alone", "the primary's Patroni dies, its PostgreSQL lives", (least, most), how, lost, ["patroni-kill"]
    )


def _primary_cut_off(inputs: Inputs) -> FaultBound:
    ttl, loop, retry = _timings(inputs)
    least, most, how = _after_lease(inputs)
    until = loop + 2 * retry
    when = "before" if until <= ttl else "AFTER"
    return _bound(
        "primary-cut-off", "the primary is cut off from everyone, and lives", (least, most),
        f"{how}; it stops itself within loop_wait + 2 x retry_timeout = {until:g} s, {when} the lease ends",
        _lost_with_one_member(inputs),
    )  # fmt: skip


def _synchronous_standby(inputs: Inputs) -> FaultBound:
    _, loop, _ = _timings(inputs)
    if inputs.options.durability != "standby":
        return _bound(
            "standby-node", "the primary region's standby is lost", (0.0, 0.0), "no commit waits for this one member",
            ("nothing", "the primary has it all"),
        )  # fmt: skip
    silent = float(str(inputs.parameters["wal_sender_timeout"]).removesuffix("s"))
    return _bound(
        "standby-node", "the synchronous standby is lost", (0.0, silent + loop),
        f"commits wait until it is given up: wal_sender_timeout {silent:g} (at once if its connection ends) "
        f"+ loop_wait {loop:g}; from then on the primary commits alone",
        ("nothing", "but what is written from then on is on the primary alone until the standby is back"),
    )  # fmt: skip


def _region(inputs: Inputs) -> FaultBound:
    home = inputs.primary.region
    members = inputs.nodes(DATABASE)
    away = [node for node in members if node.region != home]
    if not away:
        return _bound(
            "region", f"the region {home} is lost", (0.0, None), "no other region has a member",
            ("everything since the last backup", "no other region has a member"),
        )  # fmt: skip
    least, most, _ = _after_lease(inputs)
    nearest = min(away, key=lambda node: inputs.rtt_ms(home, node.region))
    way_ms = inputs.rtt_ms(home, nearest.region) / 2
    at_home = len(members) - len(away)
    durability = inputs.options.durability
    if durability == "any-1" and at_home == 1:
        lost = ("nothing", "a commit waits for a member of another region")
    else:
        lost = (
            f"what was acknowledged in the last {way_ms:g} ms and more",
            f"commits wait for no member outside {home}: what is on its way to {nearest.region} is lost, and what a "
            "busy link holds back",
        )
    if durability == "async" or (durability == "any-1" and at_home == 1):
        how = f"as when the primary's node is lost; {most:g} s for writes, events go on when the bus does"
        return _bound("region", f"the region {home} is lost", (least, most), how, lost, ["region-loss"])
    why = (
        "no member that may lack acknowledged writes is promoted by itself"
        if durability == "standby"
        else f"with {at_home} members lost at once the others cannot be sure to have every write"
    )
    how = f"{why}: the take-over has to be ordered, and waits for what is left of the lease: up to {most:g} s"
    return _bound("region", f"the region {home} is lost", (0.0, None), how, lost, ["region-loss"])


def _other_region_cut_off(inputs: Inputs) -> FaultBound:
    return _bound(
        "other-region-cut-off", "another region is cut off from the primary's", (0.0, None),
        "its reads go on from its own member, ever older; its writes and events wait until the link is back, or its "
        "clients turn to another region", ("nothing", "what it could not write was not acknowledged"),
    )  # fmt: skip


def _lease_store(inputs: Inputs) -> FaultBound:
    _, loop, retry = _timings(inputs)
    return _bound(
        "etcd-majority", "most of etcd is lost", (0.0, None),
        f"the primary stops taking writes within loop_wait + retry_timeout = {loop + retry:g} s, and no member is "
        "promoted until a majority is back", ("nothing", "no other primary can arise"),
    )  # fmt: skip


def _broker(inputs: Inputs) -> FaultBound:
    count = len(inputs.nodes(BUS))
    least, most = BUS_ELECTION_S
    if count < 3:
        return _bound(
            "broker", "a broker is lost", (0.0, None), f"{count} brokers have no majority without one",
            ("nothing", "the outbox holds every event until the bus is back"),
        )  # fmt: skip
    return _bound(
        "broker", "a broker is lost that leads streams", (0.0, most + BUS_RETRY_S),
        f"election timeout {least:g} to {most:g} s (less where followers learn of it sooner) + {BUS_RETRY_S:g} s until "
        "publishers try again", ("nothing", "2 of 3 copies have each acknowledged message"), ["bus-leader-kill"],
    )  # fmt: skip


def _own_process(inputs: Inputs) -> FaultBound:
    supervised = inputs.options.supervisor == "on"
    return _bound(
        "own-process", "the relay or a consumer dies", (0.0, RESTART_S if supervised else None),
        f"started again within {RESTART_S:g} s" if supervised else "it is not started again",
        ("nothing", "outbox and streams hold what it has not done"), ["analytics-kill"],
    )  # fmt: skip


def power_losses(inputs: Inputs) -> list[PowerLoss]:
    """What a loss of power takes: of one node, and of all nodes of a kind."""
    sync_s = _SYNC_S[inputs.options.sync_interval]
    lost, how = _lost_with_one_member(inputs)
    flushed = "sync_interval always: a message is on disk before it is acknowledged"
    late = f"sync_interval {inputs.options.sync_interval}: what was acknowledged since the last sync, up to {sync_s} s"
    held = "; the relay publishes events again from its outbox, messages of others are gone"
    return [
        PowerLoss(what="the primary's node", lost=lost, how=how),
        PowerLoss(
            what="every PostgreSQL node", lost="nothing",
            how="each commit is flushed to the primary's disk before it is acknowledged (fsync, synchronous_commit)",
        ),
        PowerLoss(
            what="one broker", lost="nothing",
            how=flushed if not sync_s else f"two others hold it; {late} would go if one of them lags at that moment",
        ),
        PowerLoss(
            what="every broker", lost=f"up to {sync_s} s of acknowledged messages" if sync_s else "nothing",
            how=late + held if sync_s else flushed,
        ),
    ]  # fmt: skip
