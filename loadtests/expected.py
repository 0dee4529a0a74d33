"""What a load will leave, told by its plan before any of its processes is started."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from loadtests.plan import Engine, Plan, Scenario
from reports.evidence import Expected, ExpectedFile, ExpectedHop, ExpectedLoad
from reports.evidence.expected import sessions_path
from system.wire import observer

_SURE_SHARE = 0.95
"""Of the operations of a schedule at its mean rate: what chance and the ends of bursts may take."""
_SURE_DEVIATIONS = 4.0


def engines_of(scenario: Scenario, plan: Plan) -> list[Engine]:
    """All processes of a load."""
    return [*scenario.observers(plan), *(scenario.generator(plan, user) for user in range(plan.users))]


def expected_of(scenario: Scenario, plan: Plan, rows: Iterable[str]) -> Expected:
    """What a load of this plan will leave, and `rows` as what it is evidence for."""
    engines = engines_of(scenario, plan)
    by_record: defaultdict[str, list[Engine]] = defaultdict(list)
    for engine in engines:
        by_record[_record_of(engine, plan)].append(engine)
    loads = [
        _load(name, each, requests=scenario.requests and name == plan.scenario) for name, each in by_record.items()
    ]
    writers = Counter(path for engine in engines if engine.sure for path in engine.keeps)
    files = [ExpectedFile(path=f"load/{load.name}.json") for load in loads]
    files += [ExpectedFile(path=path, writers=count) for path, count in writers.items()]
    if any(sessions_path(plan.scenario) in engine.keeps for engine in engines):
        files.append(ExpectedFile(path=f"consistency/{plan.scenario}.json"))
    hops = [hop for engine in engines for hop in engine.finds]
    hops += audited_hops(plan.scenario, plan.regions) if scenario.audited else []
    return Expected(
        phase=plan.scenario,
        kind="load",
        rows=list(rows),
        files=files,
        hops=hops,
        facts=dict(AUDIT_FACTS) if scenario.audited else {},
        loads=loads,
    )


def _record_of(engine: Engine, plan: Plan) -> str:
    """The load whose record has this engine's results: the plan's, or one beside it."""
    place = Path(engine.part).parent
    return plan.scenario if place == Path(plan.work) else f"{plan.scenario}-{place.name}"


def _load(name: str, engines: list[Engine], *, requests: bool) -> ExpectedLoad:
    offers = sum(engine.offers for engine in engines)
    least = _SURE_SHARE * offers - _SURE_DEVIATIONS * math.sqrt(offers)
    names = [engine.name for engine in engines if engine.sure]
    return ExpectedLoad(name=name, engines=names, operations=max(0, math.floor(least)), requests=requests)


AUDIT_FACTS = {"bus.exactly_once": 2, "ledger.contents": 1}
"""Row -> how many facts an audit of a ledger adds: the totals of analytics in its tables, the order in the audit trail,
and the totals as the API gives them."""


def audited_hops(client: str, regions: Iterable[str]) -> list[ExpectedHop]:
    """Where an audit looks for the writes of a ledger of projects."""
    here = list(regions)
    stores = [ExpectedHop(client, hop) for hop in ("postgres", "outbox", "stream")]
    stores += [ExpectedHop(client, "replica", region) for region in here]
    seen = [ExpectedHop(client, hop, None, True) for hop in ("audit-log", "notification")]
    seen += [ExpectedHop(client, "feed", region, True) for region in here]
    return [*stores, *_consumers(client, here), *seen]


def applied_hops(client: str, regions: Iterable[str]) -> list[ExpectedHop]:
    """Where the events of a load are looked for: in the outbox, and at each consumer."""
    return [ExpectedHop(client, "outbox"), *_consumers(client, regions)]


def _consumers(client: str, regions: Iterable[str]) -> list[ExpectedHop]:
    return [ExpectedHop(client, one.name, one.region, True) for one in observer.instances(regions)]
