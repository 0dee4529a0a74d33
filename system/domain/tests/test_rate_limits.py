"""Token buckets by a clock of the test's own."""

from hypothesis import given
from hypothesis import strategies as st

from system.domain.rate_limits import Buckets, burst_of


@given(st.lists(st.floats(0, 0.5), max_size=300), st.integers(1, 200))
def test_no_client_gets_more_than_burst_and_rate_allow(pauses_s: list[float], rate: int) -> None:
    buckets = Buckets(10)
    now_s, burst, taken = 0.0, burst_of(rate), 0
    for pause_s in pauses_s:
        now_s += pause_s
        wait_s = buckets.take("client", rate, burst, now_s)
        taken += not wait_s
        assert taken <= burst + rate * now_s + 1e-6
        if wait_s:
            assert wait_s <= 1 / rate + 1e-9
            assert not buckets.take("client", rate, burst, now_s + wait_s + 1e-9)
            taken += 1
            now_s += wait_s + 1e-9


def test_one_clients_bucket_is_no_other_clients() -> None:
    buckets = Buckets(10)
    assert [buckets.take("one", 1, 2, 0.0) for _ in range(3)] == [0.0, 0.0, 1.0]
    assert buckets.take("other", 1, 2, 0.0) == 0.0


def test_the_table_of_buckets_is_bounded() -> None:
    buckets = Buckets(2)
    for name in ("one", "two", "three"):
        buckets.take(name, 1, 1, 0.0)
    assert buckets.take("three", 1, 1, 0.0) > 0
    assert buckets.take("one", 1, 1, 0.0) == 0.0
