"""The facts of the rows security.transit, security.rest, security.secrets, and what security.access has besides the
API's matrix: every listener, store, user and log of the running system, tried from outside.

Each is one attempt with what was expected of it, so a system that runs without TLS or without encryption shows at once.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator

import psycopg

from checks import NotChecked
from checks.security import secrets_found, stores, wires
from checks.security.passwords import wrong_passwords
from checks.security.wires import Listener
from infra.fabric.protocol import Fabric
from infra.machine.spec import EngineError
from infra.parts import etcd
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


def record(system: Fabric, folder: RunFolder) -> None:
    """Try the wires, the disks and the passwords, and write a Count for each attempt. NotChecked if something could not
    be tried at all."""
    try:
        found = [*transit(system), *rest(system), *access(system)]
    except (EngineError, OSError, psycopg.Error) as error:
        raise NotChecked(f"what protects the system could not be tried: {error}") from error
    with folder.facts() as facts:
        facts.add(*found)


def record_secrets(system: Fabric, folder: RunFolder) -> None:
    """Look for secrets where none may stand, at the end of a run: then the logs have everything."""
    with folder.facts() as facts:
        facts.add(*secrets(system, folder))


def transit(system: Fabric) -> Iterator[Count]:
    """Each listener with TLS 1.3, in the clear, and with TLS 1.2; and those that cannot be held to that."""
    for listener, node in listeners(system.place):
        yield _cell(TRANSIT, f"{listener.name}: TLS 1.3 is spoken", _speaks(system.place, listener, node))
        yield _cell(TRANSIT, f"{listener.name}: plain text is refused", not _takes_plain(system, listener))
        older, who = _older(system.place, node)
        refused = _refuses(lambda: wires.handshake(listener, older))  # noqa: B023 - called at once.
        yield _cell(TRANSIT, f"{listener.name}: TLS 1.2 is refused{who}", refused)
    if etcd.least_tls() != ssl.TLSVersion.TLSv1_3:
        yield from _short(system.place, "etcd", "its build knows no TLS above 1.2")
    yield from _short(system.place, "valkey", "plain text: its build knows no TLS")


def listeners(place: Place) -> list[tuple[Listener, Node]]:
    """Everything with TLS that serves others than its own machine's programs, as this machine reaches it."""
    found = []
    for node in place.all_nodes():
        if node.standby:
            continue
        for port in _PORTS.get(node.kind, ()):
            asks = node.kind == "postgres" and port == "client"
            found.append((_listener(place, node, port, asks_first=asks), node))
    shared = _apis(place)
    return [*found, *((_listener(place, node, "tls"), node) for node in shared)]


def _short(place: Place, kind: str, why: str) -> Iterator[Count]:
    """What does not keep the claim, and cannot: the gate allows for it."""
    for node in place.nodes(kind):
        yield Count(row=TRANSIT, value=1.0, unit="below TLS 1.3", how=f"{node.name}: {why}")


def _apis(place: Place) -> list[Node]:
    first = {node.region: node for node in reversed(place.nodes("api"))}
    return list(first.values())


def _listener(place: Place, node: Node, port: str, *, asks_first: bool = False) -> Listener:
    host, _, number = place.outside(node, port).partition(":")
    return Listener(f"{node.name} {port}", host, int(number), asks_first)


def _speaks(place: Place, listener: Listener, node: Node) -> bool:
    """With what this system's clients use; of etcd the most that its build knows."""
    least = etcd.least_tls() if node.kind == "etcd" else ssl.TLSVersion.TLSv1_3
    try:
        return wires.handshake(listener, certificates.context(place.site, least=least)) >= least.name.replace("_", ".")
    except OSError:
        return False


def _older(place: Place, node: Node) -> tuple[ssl.SSLContext, str]:
    """A client that knows no more than TLS 1.2, and who that is in words. Where the build of etcd stops at 1.2, only
    a stranger is refused."""
    mine = certificates.client(place.site)
    context = ssl.create_default_context(cafile=str(mine.ca) if mine.ca.exists() else None)
    stranger = node.kind == "etcd" and etcd.least_tls() != ssl.TLSVersion.TLSv1_3
    if mine.cert.exists() and not stranger:
        context.load_cert_chain(str(mine.cert), str(mine.key))
    wires.below_1_3(context)
    return context, " to who has no certificate (this build of etcd knows no 1.3)" if stranger else ""


def _takes_plain(system: Fabric, listener: Listener) -> bool:
    kind, _, port = listener.name.rpartition(" ")
    try:
        if kind.startswith(("nats", "mirror")) and port == "client":
            user, key = bus_users.LOAD, system.site.secrets[bus_users.secret_name(bus_users.LOAD)]
            return b"PONG" in wires.nats(listener, None, user, key)
        if kind.startswith("postgres") and port == "client":
            return _postgres_plain(system, listener)
        words = b"PING\r\n" if port == "cluster" else _HTTP
        heard = wires.say(listener, words)
    except OSError:
        return False
    return b"PONG" in heard or b"INFO" in heard or (heard.startswith(b"HTTP/") and b" 400 " not in heard[:16])


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
    """A canary goes through the bus: it has to come back out of it, and lie on no disk. PostgreSQL and S3 want an
    encrypted volume, which this machine does not give; they are not judged here."""
    canary = stores.new_canary()
    holding = asyncio.run(stores.where_found(system, canary))
    for name, files in holding.items():
        yield _cell(REST, f"{name}: a payload, its header and its subject lie in no file", not files)


def access(system: Fabric) -> Iterator[Count]:
    """What is another's on the bus, user by user; a wrong password, at everything that takes one."""
    node = system.place.nodes("nats")[0]
    listener, context = _listener(system.place, node, "client"), system.target().context()
    for name in bus_users.users():
        missing = wires.not_refused(
            listener, context, name, system.site.secrets[bus_users.secret_name(name)], bus_users.forbidden(name)
        )
        how = f"bus user {name}: every subject that is another's is refused"
        yield _cell(ACCESS, how if not missing else f"{how}, but {', '.join(missing[:3])}", not missing)
        answer = wires.nats(listener, context, name, "not-the-password")
        yield _cell(ACCESS, f"bus user {name}: a wrong password is refused", b"Authorization Violation" in answer)
    for what, refused in wrong_passwords(system):
        yield _cell(ACCESS, f"{what}: a wrong password is refused", refused)


def secrets(system: Fabric, folder: RunFolder) -> Iterator[Count]:
    """No secret of the system in any log, on any command line, in the run's evidence; none in a file that others may
    read."""
    for place, names in secrets_found.everywhere(system, folder.path).items():
        told = f", but {', '.join(names[:3])}" if names else ""
        yield _cell(SECRETS, f"{place}: no secret{told}", not names)


def _cell(row: str, how: str, ok: bool) -> Count:
    return Count(row=row, value=0.0 if ok else 1.0, unit="wrong", how=how, ok=ok)
