"""What a new consumer needs: each thing that is left out is named, with the file and what to add."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

from commands.declarations import consumers
from commands.declarations.consumers import missing_in_report, missing_modules, missing_sites
from infra.parts import PARTS
from infra.topology import model
from infra.topology.model import Topology
from reports.findings.ledger import PASSAGE
from system.wire import observer
from system.wire.observer import Consumer

MODULES = [consumer.module.rpartition(".")[2] for consumer in observer.CONSUMERS]
MAIL = Consumer("mail-sender", per_region=False)
FILE = Path(model.__file__).with_name("topology.toml").read_text()


def without(kind: str, line: int) -> Topology:
    """The project's topology without one of the lines that place a kind of part."""
    entry = list(re.finditer(rf"^{kind} = .*\n", FILE, re.MULTILINE))[line]
    return model.parse("topology.toml", (FILE[: entry.start()] + FILE[entry.end() :]).encode())


def test_nothing_is_missing() -> None:
    assert consumers.problems() == []


def test_a_consumer_that_is_only_declared_lacks_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "CONSUMERS", (*observer.CONSUMERS, MAIL))
    assert [problem.partition(": ")[0] for problem in consumers.problems()] == [
        "system/events/consumers/mail_sender.py is missing",
        "reports/findings/ledger.py",
        "infra/topology/topology.toml",
        "infra/topology/topology.toml",
        "infra/topology/topology.toml",
    ]


def test_a_module_that_is_not_declared_is_named_with_the_line_to_add() -> None:
    assert missing_modules(observer.CONSUMERS, [*MODULES, "mail_sender"]) == [
        "system/wire/observer.py: CONSUMERS lacks system/events/consumers/mail_sender.py: "
        'add Consumer("mail-sender", per_region=...)'
    ]


@pytest.mark.parametrize("consumer", observer.CONSUMERS, ids=lambda consumer: consumer.name)
def test_a_consumer_whose_module_holds_no_effect_of_it_is_named(consumer: Consumer) -> None:
    assert consumers.missing_effects([consumer], importlib.import_module) == []
    (problem,) = consumers.missing_effects([consumer], lambda name: ModuleType(name))
    assert problem.startswith(f"{consumer.module.replace('.', '/')}.py has no effect of {consumer.name!r}: add a class")


@pytest.mark.parametrize("consumer", observer.CONSUMERS, ids=lambda consumer: consumer.name)
def test_a_consumer_that_the_report_does_not_know_is_named(consumer: Consumer) -> None:
    known = [hop for hop in PASSAGE if hop != consumer.name]
    assert missing_in_report(observer.CONSUMERS, known) == [
        f"reports/findings/ledger.py: PASSAGE lacks {consumer.name!r}: add it where a write passes it"
    ]


@pytest.mark.parametrize(
    ("kind", "line", "problem"),
    [
        ("analytics", 0, '[sizes.core] has no analytics: it runs once in the system, as analytics = ["iad"]'),
        ("analytics", 1, '[sizes.full] has no analytics: it runs once in the system, as analytics = ["iad"]'),
        (
            "analytics",
            2,
            "[sizes.full.standby] has no analytics: nothing takes over from it when its region is lost, "
            'add analytics = ["ams"]',
        ),
        (
            "mobile-sync",
            0,
            "[sizes.core] has no mobile-sync in iad, ams, syd: it runs in every region, "
            'add mobile-sync = ["iad", "ams", "syd"]',
        ),
    ],
)
def test_a_site_that_is_missing_is_named_with_the_line_to_add(kind: str, line: int, problem: str) -> None:
    assert missing_sites(observer.CONSUMERS, without(kind, line)) == [f"infra/topology/topology.toml: {problem}"]


def test_a_consumer_that_runs_once_may_not_stand_twice_and_a_regional_one_in_no_region_less() -> None:
    changed = FILE.replace('analytics = ["iad"]', 'analytics = ["iad", "syd"]', 1)
    changed = changed.replace('mobile-sync = ["iad", "ams", "syd"]', 'mobile-sync = ["iad", "syd"]', 1)
    found = missing_sites(observer.CONSUMERS, model.parse("topology.toml", changed.encode()))
    assert found == [
        "infra/topology/topology.toml: [sizes.core] has 2 analytics: it runs once in the system, "
        'as analytics = ["iad"]',
        "infra/topology/topology.toml: [sizes.core] has no mobile-sync in ams: it runs in every region, "
        'add mobile-sync = ["iad", "ams", "syd"]',
    ]


def test_a_part_in_the_topology_that_is_not_declared_is_named_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {kind: part for kind, part in PARTS.items() if kind != "mobile-sync"}
    monkeypatch.setattr(consumers, "PARTS", parts)
    [problem] = consumers.problems()
    assert re.match(r"infra/topology/topology\.toml:\d+: sizes\.core\.mobile-sync: no part is of this kind", problem)
