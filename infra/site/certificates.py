"""The certificates of one system: an authority of its own, made with its home, and one pair for each node.

A node uses its certificate as a server and as a client, since most nodes are both. The authority's key stays in the
home and is read only to issue certificates; to verify one takes `ca.crt` alone. Only its owner can read a key (0600).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from infra.site.site import Place, Site
from infra.topology.model import Node

if TYPE_CHECKING:
    import trustme

HARNESS = "harness"
"""The client certificate of this machine's programs: load, chaos, observers."""
TOOLS = "tools"
"""The client certificate of the system's commands that run once: migrations, streams, audits."""
CLIENTS = (HARNESS, TOOLS)
_VALID_FOR = timedelta(days=90)
_ORGANIZATION = "Covenant"


@dataclass(frozen=True)
class Credentials:
    """Three PEM files: a certificate, its key, and the authority that signed every certificate of the system."""

    cert: Path
    key: Path
    ca: Path


def of(site: Site, node: Node) -> Credentials:
    """A node's credentials. They lie in the node's own folder, so that they change their owner together with it."""
    return _credentials(site, site.folder(node) / "tls")


def client(site: Site, name: str = HARNESS) -> Credentials:
    """The credentials of a client that is no node, one of CLIENTS."""
    return _credentials(site, site.path / "clients" / name)


def issue(place: Place) -> None:
    """Make the authority, and a certificate for every node and client of a new home. OSError."""
    import trustme

    authority = trustme.CA(organization_name=_ORGANIZATION, key_type=trustme.KeyType.ECDSA)
    _write(_authority_key(place.site), authority.private_key_pem.bytes(), 0o600)
    _write(_authority_cert(place.site), authority.cert_pem.bytes(), 0o644)
    _issue_all(place, authority)


def renew(place: Place) -> None:
    """Make new keys and certificates for all, signed by the same authority. Each file is replaced atomically, so a
    server that reads it meanwhile finds the old or the new one. Servers that use the old ones have to reload.
    OSError."""
    import trustme

    key, cert = _authority_key(place.site), _authority_cert(place.site)
    _issue_all(place, trustme.CA.from_pem(cert.read_bytes(), key.read_bytes()))


def context(site: Site, name: str = HARNESS, least: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """The SSL context of a client of this system, which is cached until its certificate is renewed. It verifies a
    server's name, trusts this system's authority alone, and speaks no TLS below `least`."""
    mine = client(site, name)
    return _context(mine, mine.cert.stat().st_mtime_ns, least)


@lru_cache(maxsize=8)
def _context(mine: Credentials, written_ns: int, least: ssl.TLSVersion) -> ssl.SSLContext:
    """`written_ns` is part of the cache's key, so that renewed files are loaded."""
    made = ssl.create_default_context(cafile=str(mine.ca))
    made.minimum_version = least
    made.load_cert_chain(str(mine.cert), str(mine.key))
    made.sslsocket_class = _ClosedWhenGivenUp
    return made


class _ClosedWhenGivenUp(ssl.SSLSocket):
    """`ssl` leaves a socket open if it is reset before the handshake begins, as happens while a part is starting."""

    def __del__(self) -> None:
        self.close()


def _issue_all(place: Place, authority: trustme.CA) -> None:
    import trustme

    expires = datetime.now(UTC) + _VALID_FOR
    for where, name, identities in _wanted(place):
        pair = authority.issue_cert(
            *identities, common_name=name, organization_name=_ORGANIZATION, not_after=expires,
            key_type=trustme.KeyType.ECDSA,
        )  # fmt: skip
        where.key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The key first: a server that reads between the two refuses the pair, and keeps what it has.
        _write(where.key, pair.private_key_pem.bytes(), 0o600)
        _write(where.cert, b"".join(blob.bytes() for blob in pair.cert_chain_pems), 0o644)


def _wanted(place: Place) -> Iterator[tuple[Credentials, str, list[str]]]:
    """(where it lies, common name, addresses and host names) of every certificate."""
    for node in place.all_nodes():
        # A region's APIs share a port, so a request to the address of one may be answered by any of them.
        shared = [other for other in place.nodes("api") if other.region == node.region and node.kind == "api"]
        own = [address for each in (node, *shared) for address in (place.address(each), place.topology.address(each))]
        names = ["localhost", f"{node.region}.localhost", node.name]
        yield of(place.site, node), node.name, [*dict.fromkeys((*own, "127.0.0.1")), *names]
    for name in CLIENTS:
        yield client(place.site, name), name, [f"{name}.localhost"]


def _credentials(site: Site, stem: Path) -> Credentials:
    return Credentials(cert=stem.with_suffix(".crt"), key=stem.with_suffix(".key"), ca=_authority_cert(site))


def _authority_key(site: Site) -> Path:
    return site.path / "ca.key"


def _authority_cert(site: Site) -> Path:
    return site.path / "ca.crt"


def _write(path: Path, content: bytes, mode: int) -> None:
    """Replace a file atomically. The new file has its mode from its first byte, and the owner of the old one."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        if path.exists():
            before = path.stat()
            os.fchown(file.fileno(), before.st_uid, before.st_gid)
    fresh.replace(path)
