"""Whether a declared consumer has what does not follow from its declaration: module, sites, a place in the report.

What does follow (users of the bus, parts, positions in PostgreSQL, dead letters, rows that need every consumer) needs
no check. Everything here is pure but for `problems`, which reads the project's own files; nothing is started.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterable, Sequence
from types import ModuleType

from infra.machine.checkout import CHECKOUT
from infra.parts import PARTS
from infra.topology import model
from infra.topology.model import Topology, TopologyError
from reports.findings.ledger import PASSAGE
from system.wire import observer
from system.wire.observer import Consumer

_DECLARATION = "system/wire/observer.py"
_MODULES = "system/events/consumers"
_TOPOLOGY = "infra/topology/topology.toml"
_REPORT = "reports/findings/ledger.py"


def problems() -> list[str]:
    """What is missing, a sentence each that names the file and what to add."""
    modules = [path.stem for path in (CHECKOUT / _MODULES).glob("*.py") if path.stem != "__init__"]
    there = [one for one in observer.CONSUMERS if one.module.rpartition(".")[2] in modules]
    found = missing_modules(observer.CONSUMERS, modules) + missing_effects(there, importlib.import_module)
    found += missing_in_report(observer.CONSUMERS, PASSAGE)
    try:
        topology = model.load(environment={})
        topology.check_kinds(PARTS)
    except TopologyError as error:
        return [*found, f"infra/topology/{error}"]
    return found + missing_sites(observer.CONSUMERS, topology)


def missing_modules(consumers: Sequence[Consumer], modules: Collection[str]) -> list[str]:
    """Consumers without a module, and modules (by their names without `.py`) that are no declared consumer's."""
    expected = {consumer.module.rpartition(".")[2]: consumer.name for consumer in consumers}
    found = [
        f"{_MODULES}/{module}.py is missing: {_DECLARATION} declares the consumer {name!r}, whose process it is"
        for module, name in expected.items()
        if module not in modules
    ]
    return found + [
        f'{_DECLARATION}: CONSUMERS lacks {_MODULES}/{module}.py: add Consumer("{module.replace("_", "-")}", '
        "per_region=...)"
        for module in sorted(set(modules) - expected.keys())
    ]


def missing_effects(consumers: Iterable[Consumer], load: Callable[[str], ModuleType]) -> list[str]:
    """Consumers whose module defines no effect of theirs. `load` imports a module by its name."""
    found = []
    for consumer in consumers:
        effects = [one for one in vars(load(consumer.module)).values() if isinstance(one, type)]
        if not any(getattr(effect, "consumer", None) == consumer.name for effect in effects):
            base = "ValkeyEffect" if consumer.per_region else "PostgresEffect"
            found.append(
                f"{consumer.module.replace('.', '/')}.py has no effect of {consumer.name!r}: add a class of {base} "
                f'with `consumer: ClassVar[str] = "{consumer.name}"`'
            )
    return found


def missing_in_report(consumers: Iterable[Consumer], passage: Collection[str]) -> list[str]:
    """Consumers that the report does not know the place of."""
    return [
        f"{_REPORT}: PASSAGE lacks {consumer.name!r}: add it where a write passes it"
        for consumer in consumers
        if consumer.name not in passage
    ]


def missing_sites(consumers: Iterable[Consumer], topology: Topology) -> list[str]:
    """Consumers that do not stand in every size where they have to run."""
    found = []
    for size in dict.fromkeys(known for known, _ in topology.sizes):
        nodes = topology.nodes(size, topology.layouts(size)[0])
        regions = topology.running_regions(size)
        spare = [node.region for node in nodes if node.standby and node.kind == "relay"]
        for consumer in consumers:
            mine = [node for node in nodes if node.kind == consumer.name]
            running = [node.region for node in mine if not node.standby]
            if consumer.per_region:
                lacking = [region for region in regions if region not in running]
                if lacking:
                    found.append(
                        f"{_TOPOLOGY}: [sizes.{size}] has no {consumer.name} in {', '.join(lacking)}: it runs in "
                        f"every region, add {_entry(consumer, regions)}"
                    )
                continue
            if len(running) != 1:
                found.append(
                    f"{_TOPOLOGY}: [sizes.{size}] has {len(running) or 'no'} {consumer.name}: it runs once in the "
                    f"system, as {_entry(consumer, regions[:1])}"
                )
            if spare and not any(node.standby for node in mine):
                found.append(
                    f"{_TOPOLOGY}: [sizes.{size}.standby] has no {consumer.name}: nothing takes over from it when its "
                    f"region is lost, add {_entry(consumer, spare)}"
                )
    return found


def _entry(consumer: Consumer, regions: Iterable[str]) -> str:
    """`analytics = ["iad"]`."""
    sites = ", ".join(f'"{region}"' for region in regions)
    return f"{consumer.name} = [{sites}]"
