"""The steps of a run that only add facts: each is a phase, and says beforehand how many facts it will leave."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from checks import NotChecked, points, replication
from checks import access as access_facts
from checks import data as data_facts
from checks import parts as part_facts
from checks.security import audit_trail
from checks.security import facts as security_facts
from commands.run import expected
from commands.run.programme import CHECKS, SECRETS
from commands.run.session import Session, StepFailed
from infra.fabric.process.system import System
from reports.evidence import RunFolder
from reports.policy.policy import load_policy

DATA, ACCESS, SECURITY = CHECKS
DATA_POINTS, COPIES, PARTS = "data points", "copies", "parts"
AUDIT, AUDIT_END = "audit trail", "audit trail at the end"
_IF_JUDGED = {
    DATA_POINTS: points.ROW, COPIES: replication.ROW, PARTS: part_facts.ROW, AUDIT: audit_trail.ROW,
    AUDIT_END: audit_trail.ROW,
}  # fmt: skip
"""Check -> the row that it is made for."""


def data(run: Session) -> None:
    """Count and reconcile what the database holds."""
    with _checking(run, DATA, data_facts.EXPECTED):
        data_facts.record(run.system.target(), run.folder)


def data_points(run: Session) -> None:
    """Count and reconcile the seed's full scale, in a database of its own, if the run judges that."""
    _check_if_judged(run, DATA_POINTS, points.record, points.EXPECTED)


def copies(run: Session) -> None:
    """Ask every node of the bus what it holds itself, if the run judges that; after what may leave a copy behind."""
    _check_if_judged(run, COPIES, replication.record, replication.expected(run.system))


def parts(run: Session) -> None:
    """Look whether every part runs and every consumer is up to date, if the run judges that; at the end."""
    _check_if_judged(run, PARTS, part_facts.record, part_facts.expected(run.system))


def audit_tampering(run: Session) -> None:
    """Try to change the audit trail, and change copies of it, if the run judges that; early, while the trail is short,
    but after writes."""
    _check_if_judged(run, AUDIT, audit_trail.record, audit_trail.EXPECTED)


def audit_verified(run: Session) -> None:
    """Verify the audit trail, if the run judges that; at the end, over all that was written."""
    _check_if_judged(run, AUDIT_END, audit_trail.record_verified, audit_trail.VERIFIED)


def judged(profile: str) -> list[str]:
    """The checks that are made only where their row is judged, of those that are in a run of this profile."""
    policy = load_policy()
    return [name for name, row in _IF_JUDGED.items() if policy.judges(profile, row, measured=True)]


def _check_if_judged(
    run: Session, name: str, record: Callable[[System, RunFolder], None], facts: Mapping[str, int]
) -> None:
    if name in judged(run.run.profile):
        with _checking(run, name, facts):
            record(run.system, run.folder)


def access(run: Session) -> None:
    """Try who may do what."""
    with _checking(run, ACCESS, access_facts.expected()):
        access_facts.record(run.system.target(), run.folder)


def security(run: Session) -> None:
    """Try what protects the system: the wire, the disks, the passwords."""
    with _checking(run, SECURITY, security_facts.expected(run.system)):
        security_facts.record(run.system, run.folder)


def find_secrets(run: Session) -> None:
    """Look for secrets where none may stand; at the end, when the logs have everything."""
    with _checking(run, SECRETS, security_facts.EXPECTED_SECRETS):
        security_facts.record_secrets(run.system, run.folder)


@contextmanager
def _checking(run: Session, name: str, facts: Mapping[str, int]) -> Iterator[None]:
    """A phase that adds at least so many `facts` to rows."""
    with run.phase(name):
        run.folder.write_expected(expected.of_check(name, facts))
        try:
            yield
        except NotChecked as error:
            raise StepFailed(str(error)) from error
