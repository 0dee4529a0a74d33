"""Many messages are read at once where they have the usual shape, and only there."""

from __future__ import annotations

from loadtests.clients import payload as numbered
from loadtests.clients.ordered_consumer import Shape

WALL = 1_700_000_000_000_000_000


def _message(n: int, *, size: int = 128, consumer: bytes = b"c1", domain: bytes = b"") -> bytes:
    payload = numbered.head(1, n, n // 10 * 1000).ljust(size, b"\n")
    reply = b"$JS.ACK.%bLOAD.%b.1.%d.%d.%d.9" % (domain, consumer, n + 1, n + 1, WALL)
    return b"MSG load.r1.%d 2 %b %d\r\n%b\r\n" % (n % 300, reply, size, payload)


def test_only_whole_messages_of_the_shape_match() -> None:
    pattern = Shape(b"load.r1", 128, 24, lambda batch: None).pattern(2, b"c1")
    whole = _message(7)
    found = pattern.match(whole)
    assert found is not None
    assert found.end() == len(whole)
    assert (int(found[1]), int(found[2]), int(found[3])) == (8, 8, WALL)
    assert numbered.read(found[4]) == (1, 7, 0)
    assert pattern.match(_message(7, domain=b"iad.ACCOUNT.")) is not None
    for other in (whole[:-1], _message(7, size=64), _message(7, consumer=b"c2"), whole.replace(b"r1", b"r2")):
        assert pattern.match(other) is None
