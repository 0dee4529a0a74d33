"""The facts of the rows security.transit, security.rest and security.secrets, and the facts of security.access beside
the API's matrix: every listener, store, user and log of the running system is tried from outside.

Each fact is one attempt with its expected result, so a system without TLS or without encryption shows at once.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator

import psycopg

from checks import NotChecked
from checks.security import passwords, secret_scan, stores, wires
from checks.security.wires import Listener
from infra.fabric.protocol import Fabric
from infra.machine.spec import EngineError
from infra.parts import etcd
from infra.parts.covenant import region_apis
from infra.site import bus_users, certificates
from infra.site.site import Place
from infra.topology.model import Node
from reports.evidence import Count, RunFolder

TRANSIT, REST, ACCESS, SECRETS = "security.transit", "security.rest", "security.access", "security.secrets"
_HTTP = b"GET / HTTP/1.1\r\nHost: covenant\r\nConnection: close\r\n\r\n"
_PORTS = {
    "nats": ("client", "cluster", "monitor"),
    "mirror": ("client", "monitor"),
    "postgres": ("client", "rest"),
    "etcd": ("client", "peer"),
    "s3": ("s3",),
}


EXPECTED_SECRETS = {SECRETS: len(secret_scan.PLACES)}
"""How many facts `record_secrets` adds."""


def expected(system: Fabric) -> dict[str, int]:
    """Row -> how many facts `record` adds to it, at least: a build of etcd may add some that are short of the claim."""
    place = system.place
    return {
        TRANSIT: 3 * len(listeners(place)) + len(place.nodes("valkey")),
        REST: len(place.nodes("nats")) + len(place.nodes("mirror")),
        ACCESS: 2 * len(bus_users.users()) + passwords.attempts(system),
    }


def record(system: Fabric, folder: RunFolder) -> None:
    """Try the listeners, the disks and the passwords, and write a Count for each attempt. NotChecked if one could not
    be made."""
    try:
        found = [*transit(system), *rest(system), *access(system)]
    except (EngineError, OSError, psycopg.Error) as error:
        raise NotChecked(f"the protection of the system could not be tried: {error}") from error
    with folder.facts() as facts:
        facts.add(*found)


def record_secrets(system: Fabric, folder: RunFolder) -> None:
    """Search for secrets where none may be, and write a Count for each place. Call it at the end of a run, when the
    logs are complete."""
    with folder.facts() as facts:
        facts.add(*secrets(system, folder))


def transit(system: Fabric) -> Iterator[Count]:
    """Try each listener with TLS 1.3, in plain text, and with TLS 1.2; name the parts whose build has no TLS 1.3."""
    for listener, node in listeners(system.place):
        yield _fact(TRANSIT, f"{listener.name}: TLS 1.3 is spoken", _speaks(system.place, listener, node))
        yield _fact(TRANSIT, f"{listener.name}: plain text is refused", not _takes_plain(system, listener))
        older, to_whom = _older(system.place, node)
        refused = _refuses(lambda: wires.handshake(listener, older))  # noqa: B023 - called at once.
        yield _fact(TRANSIT, f"{listener.name}: TLS 1.2 is refused{to_whom}", refused)
    if etcd.least_tls() != ssl.TLSVersion.TLSv1_3:
        yield from _short(system.place, "etcd", "its build knows no TLS above 1.2")
    yield from _short(system.place, "valkey", "plain text: its build knows no TLS")


def listeners(place: Place) -> list[tuple[Listener, Node]]:
    """Every listener that has to speak TLS, as this machine reaches it, with its node."""
    found = []
    for node in place.all_nodes():
        if node.standby:
            continue
        for port in _PORTS.get(node.kind, ()):
            asks = node.kind == "postgres" and port == "client"
            found.append((_listener(place, node, port, asks_first=asks), node))
    apis = region_apis(place).values()
    return [*found, *((_listener(place, node, "tls"), node) for node in apis)]


def _short(place: Place, kind: str, why: str) -> Iterator[Count]:
    """Facts of nodes that cannot keep the claim; the gate allows them."""
    for node in place.nodes(kind):
        yield Count(row=TRANSIT, value=1.0, unit="below TLS 1.3", how=f"{node.name}: {why}")


def _listener(place: Place, node: Node, port: str, *, asks_first: bool = False) -> Listener:
    host, _, number = place.outside(node, port).partition(":")
    return Listener(f"{node.name} {port}", host, int(number), asks_first)


def _speaks(place: Place, listener: Listener, node: Node) -> bool:
    """Whether a client of this system completes a handshake, with TLS 1.3 or with the best that this build of etcd
    knows."""
    least = etcd.least_tls() if node.kind == "etcd" else ssl.TLSVersion.TLSv1_3
    try:
        return wires.handshake(listener, certificates.context(place.site, least=least)) >= least.name.replace("_", ".")
    except OSError:
        return False


def _older(place: Place, node: Node) -> tuple[ssl.SSLContext, str]:
    """(context of a client with TLS 1.2 at most, what has to be said of that client). It has this system's certificate;
    but a build of etcd that knows no 1.3 can only refuse a client without one."""
    mine = certificates.client(place.site)
    context = ssl.create_default_context(cafile=str(mine.ca) if mine.ca.exists() else None)
    anonymous = node.kind == "etcd" and etcd.least_tls() != ssl.TLSVersion.TLSv1_3
    if mine.cert.exists() and not anonymous:
        context.load_cert_chain(str(mine.cert), str(mine.key))
    wires.below_1_3(context)
    return context, " to a client without a certificate (this build of etcd knows no 1.3)" if anonymous else ""


def _takes_plain(system: Fabric, listener: Listener) -> bool:
    """Whether a listener serves a request in plain text."""
    kind, _, port = listener.name.rpartition(" ")
    try:
        if kind.startswith(("nats", "mirror")) and port == "client":
            user, key = bus_users.LOAD, system.site.secrets[bus_users.secret_name(bus_users.LOAD)]
            return b"PONG" in wires.exchange_nats(listener, None, user, key)
        if kind.startswith("postgres") and port == "client":
            return _postgres_plain(system, listener)
        answer = wires.exchange(listener, b"PING\r\n" if port == "cluster" else _HTTP)
    except OSError:
        return False
    return b"PONG" in answer or b"INFO" in answer or (answer.startswith(b"HTTP/") and b" 400 " not in answer[:16])


def _postgres_plain(system: Fabric, listener: Listener) -> bool:
    try:
        with psycopg.connect(
            host=listener.host, port=listener.port, user="covenant_observer", dbname="covenant", sslmode="disable",
            password=system.site.secrets["observer"], connect_timeout=int(wires.WITHIN_S),
        ):  # fmt: skip
            return True
    except psycopg.OperationalError:
        return False


def _refuses(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return True
    return False


def rest(system: Fabric) -> Iterator[Count]:
    """Send a canary through the bus: it must be readable there, but in no file. PostgreSQL and S3 need an encrypted
    volume, which this machine does not have, so they are not judged here."""
    canary = stores.new_canary()
    found = asyncio.run(stores.where_found(system, canary))
    for name, files in found.items():
        yield _fact(REST, f"{name}: a payload, its header and its subject lie in no file", not files)


def access(system: Fabric) -> Iterator[Count]:
    """Each user of the bus tries what belongs to others; a wrong password is tried at every part that takes one."""
    node = system.place.nodes("nats")[0]
    listener, context = _listener(system.place, node, "client"), system.target().context()
    for name in bus_users.users():
        missing = wires.not_refused(
            listener, context, name, system.site.secrets[bus_users.secret_name(name)], bus_users.forbidden(name)
        )
        how = f"bus user {name}: every subject that is another's is refused"
        yield _fact(ACCESS, how if not missing else f"{how}, but {', '.join(missing[:3])}", not missing)
        answer = wires.exchange_nats(listener, context, name, "not-the-password")
        yield _fact(ACCESS, f"bus user {name}: a wrong password is refused", b"Authorization Violation" in answer)
    for what, refused in passwords.wrong_passwords(system):
        yield _fact(ACCESS, f"{what}: a wrong password is refused", refused)


def secrets(system: Fabric, folder: RunFolder) -> Iterator[Count]:
    """No secret of the system may be in a log, on a command line, in the run's evidence, or in a file that other users
    may read."""
    for where, names in secret_scan.scan(system, folder.path).items():
        found = f", but {', '.join(names[:3])}" if names else ""
        yield _fact(SECRETS, f"{where}: no secret{found}", not names)


def _fact(row: str, how: str, ok: bool) -> Count:
    return Count(row=row, value=0.0 if ok else 1.0, unit="wrong", how=how, ok=ok)
