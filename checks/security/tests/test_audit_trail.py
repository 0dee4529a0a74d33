"""The audit trail on the running system: all facts hold there, and each fails where it should."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import psycopg
import pytest

from checks import NotChecked
from checks.security import audit_trail
from checks.security.audit_trail import ENTRIES_MIN, TAMPERINGS
from infra.fabric.process.system import System
from infra.machine.waiting import until
from infra.parts import postgres
from infra.site import clients
from ledger.observe import one_write
from reports.policy.policy import load_policy
from system.wire.observer import AUDIT_TABLE, AUDIT_TRAIL


class WithVerifier:
    """The running system, with another verifier: one that always ends with this exit code."""

    def __init__(self, system: System, code: int) -> None:
        self._system = system
        self._code = code

    def __getattr__(self, name: str) -> Any:
        return getattr(self._system, name)

    def run_tool(
        self, module: str, arguments: Sequence[str], *, more: Mapping[str, str] = MappingProxyType({}),
        quiet: bool = False,
    ) -> int:  # fmt: skip
        return self._code if arguments == ["verify"] else 0


@pytest.fixture(scope="module", autouse=True)
def entries(system: System) -> None:
    """The trail has enough entries for a middle."""
    target = system.target()
    region = target.regions[0]
    token = clients.token(target, "steward", region)
    for _ in range(ENTRIES_MIN):
        one_write.create_project(target.api[region], token, str(uuid.uuid4()), region)  # type: ignore[arg-type]

    def there() -> bool | None:
        with psycopg.connect(target.observer_dsn) as link:
            row = link.execute(f"select count(*) from {AUDIT_TRAIL}").fetchone()
        return True if row and row[0] >= ENTRIES_MIN else None

    assert until(there, 30)


@pytest.mark.running
def test_every_fact_holds_on_the_running_system(system: System) -> None:
    found = [*audit_trail.refusals(system), *audit_trail.tamperings(system)]
    assert [fact.how for fact in found if not fact.ok] == []
    assert len(found) + 2 == load_policy().minimum_samples(audit_trail.ROW)


@pytest.mark.running
@pytest.mark.parametrize(("code", "missed"), [(0, len(TAMPERINGS)), (1, 2)])
def test_a_verifier_that_always_says_the_same_is_found_out(system: System, code: int, missed: int) -> None:
    found = [*audit_trail.tamperings(WithVerifier(system, code))]
    wrong = [fact.how for fact in found if not fact.ok]
    assert len(wrong) == missed
    assert {how.startswith("found on a copy") for how in wrong} == {code == 0}


@pytest.mark.running
def test_a_verifier_that_could_not_do_its_work_proves_nothing(system: System) -> None:
    with pytest.raises(NotChecked, match="ended with exit code 3"):
        list(audit_trail.tamperings(WithVerifier(system, 3)))


@pytest.fixture
def loose(system: System) -> Iterator[None]:
    """The load's role may delete entries meanwhile."""
    owner = postgres.dsn(system.place, "covenant_owner", system.site.secrets["owner"])
    with psycopg.connect(owner, autocommit=True) as link:
        link.execute(f"grant select, delete on {AUDIT_TABLE} to covenant_load".encode())
        try:
            yield
        finally:
            link.execute(f"revoke select, delete on {AUDIT_TABLE} from covenant_load".encode())


@pytest.mark.running
def test_a_role_with_a_right_too_many_is_named(system: System, loose: None) -> None:
    """The table would still refuse it; but a right that nobody needs is one lock less."""
    wrong = [fact.how for fact in audit_trail.refusals(system) if not fact.ok]
    assert wrong == ["covenant_load may not delete the trail"]
