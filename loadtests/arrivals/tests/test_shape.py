"""Many messages read at once are what they would be one by one, wherever the network cut them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loadtests.clients import payload as numbered
from loadtests.clients.ordered_consumer import Deliveries, Shape
from loadtests.engine.bus_subscriber import BusSubscriberSpec, Subscriber

WALL = 1_700_000_000_000_000_000
SPEC = BusSubscriberSpec(
    scenario="bus-ingest", folder="", target="", part="", subject="load.r1", warmup_s=0, duration_s=1
)


def _message(n: int, *, size: int = 128, consumer: bytes = b"c1", domain: bytes = b"") -> bytes:
    payload = numbered.head(1, n, n // 10 * 1000).ljust(size, b"\n")
    reply = b"$JS.ACK.%bLOAD.%b.1.%d.%d.%d.9" % (domain, consumer, n + 1, n + 1, WALL)
    return b"MSG load.r1.%d 2 %b %d\r\n%b\r\n" % (n % 300, reply, size, payload)


def test_only_whole_messages_of_the_shape_match() -> None:
    pattern = Shape(b"load.r1", 128, 24, print).pattern(2, b"c1")
    whole = _message(7)
    found = pattern.match(whole)
    assert found is not None
    assert found.end() == len(whole)
    assert (int(found[1]), int(found[2]), int(found[3])) == (8, 8, WALL)
    assert numbered.read(found[4]) == (1, 7, 0)
    assert pattern.match(_message(7, domain=b"iad.ACCOUNT.")) is not None
    for other in (whole[:-1], _message(7, size=64), _message(7, consumer=b"c2"), whole.replace(b"r1", b"r2")):
        assert pattern.match(other) is None


@given(
    numbers=st.lists(st.integers(0, 60), min_size=1, max_size=40),
    publishers=st.lists(st.integers(1, 2), min_size=40, max_size=40),
)
def test_a_batch_counts_as_its_messages_do(numbers: list[int], publishers: list[int]) -> None:
    at_once, one_by_one = Subscriber(SPEC), Subscriber(SPEC)
    heads = [numbered.head(publishers[at], n, 1000 * n) for at, n in enumerate(numbers)]
    sequences = list(range(5, 5 + len(numbers)))
    for each in (at_once, one_by_one):
        each.begin(10_000, 40_000)
    at_once.on_deliveries(Deliveries(sequences, [WALL] * len(heads), heads, WALL + 3_000_000, 100_000))
    for sequence, head in zip(sequences, heads, strict=True):
        one_by_one.on_delivery(b"load.r1.1", head, sequence, WALL, WALL + 3_000_000, 100_000)
    assert at_once.arrivals.spans == one_by_one.arrivals.spans
    assert at_once.arrivals.doubled_spans == one_by_one.arrivals.doubled_spans
    assert at_once.arrivals.reordered == one_by_one.arrivals.reordered
    assert at_once.delivery.close() == one_by_one.delivery.close()
    assert at_once.end_to_end.close() == one_by_one.end_to_end.close()
