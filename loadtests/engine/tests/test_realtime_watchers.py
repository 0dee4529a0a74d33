"""What a watcher makes of a stream's bytes: every event once, whatever the pieces that it comes in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests import run as runner
from loadtests.clients.sign_in import ApiClient
from loadtests.engine import realtime_watchers
from loadtests.engine.realtime_watchers import Feed, read_event
from loadtests.request import Request, check
from loadtests.scenarios import realtime_watchers as scenario
from loadtests.tests.load_servers import CLIENT, Api
from reports.evidence import Latencies, Load, RunFolder
from system.wire import PROJECTS


def event(partition: str, position: int) -> bytes:
    data = {"partition": partition, "position": position, "occurred_at": "2026-01-01T00:00:00.250000Z", "more": [1]}
    encoded = msgspec.json.encode(data)
    return b"event: projects.created\ndata: %b\nid: %b:%d\n\n" % (encoded, partition.encode(), position)


BEGIN = b": projects\nretry: 1000\nid: projects.0:4\n\n"

streams = st.lists(st.tuples(st.sampled_from(["projects.0", "projects.1"]), st.integers(1, 9)), max_size=20)


def _count(history: list[tuple[str, int]]) -> tuple[list[tuple[str, int]], int, int]:
    """(new events, lost, doubled), as one would count by hand: a position at or below the highest is a double."""
    highest: dict[str, int] = {}
    new, lost, doubled = [], 0, 0
    for partition, position in history:
        if position <= highest.get(partition, 0):
            doubled += 1
            continue
        if partition in highest:
            lost += position - highest[partition] - 1
        highest[partition] = position
        new.append((partition, position))
    return new, lost, doubled


@given(streams, st.lists(st.integers(1, 60), min_size=1, max_size=10))
def test_any_pieces_give_the_same_events(history: list[tuple[str, int]], sizes: list[int]) -> None:
    data = BEGIN + b"".join(event(*each) for each in history)
    feed, found, turn = Feed(), [], 0
    while data:
        size = sizes[turn % len(sizes)]
        found += [(seen.partition, seen.position) for seen in feed.take(data[:size])]
        data, turn = data[size:], turn + 1
    assert (found, feed.lost, feed.doubled) == _count(history)
    last = f"{history[-1][0]}:{history[-1][1]}" if history else "projects.0:4"
    assert feed.last_id == last.encode()


def test_what_a_lost_connection_cut_off_is_not_joined_to_the_next_one() -> None:
    feed = Feed()
    whole = event("projects.0", 5)
    assert feed.take(BEGIN + whole[:30]) == []
    feed.begin()
    assert [seen.position for seen in feed.take(whole)] == [5]
    assert (feed.lost, feed.doubled) == (0, 0)


def test_an_events_time_is_read_to_the_microsecond() -> None:
    (seen,) = Feed().take(event("projects.0", 1))
    assert seen.occurred_ns == 1_767_225_600_250_000_000
    assert read_event(b'{"partition":"p","position":1,"occurred_at":"2026-01-01T00:00:00.250001+00:00"}')[2] == (
        1_767_225_600_250_001_000
    )


def test_what_another_watcher_has_and_this_one_lacks_is_found_at_the_end() -> None:
    feed = Feed()
    feed.take(BEGIN + event("projects.0", 5))
    assert feed.lacks({"projects.0": 5}) == 0
    assert feed.lacks({"projects.0": 7, "projects.1": 40}) == 3


def test_it_comes_back_as_soon_as_the_server_says() -> None:
    feed = Feed()
    feed.take(BEGIN)
    assert feed.retry_s == 1.0
    feed.take(b"retry: 100\n\nretry: soon\n\n")
    assert feed.retry_s == 0.1


def test_an_event_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime_watchers, "_BUFFER_BYTES_MAX", 100)
    with pytest.raises(ValueError, match="expected an event of at most 100 bytes"):
        Feed().take(b"data: " + b"x" * 200)


def _watched(api: Api, target: Path, folder: RunFolder) -> tuple[Latencies, Load]:
    """What watchers in two regions received of 60 writes, half of which create."""
    asked = check(Request(scenario="realtime-watchers", rate=40, duration_s=1.5, warmup_s=0.0))
    runner.run(asked, folder=folder, target_path=target)
    (load,) = folder.loads()
    assert load.ok == load.offered == 60
    (latencies,) = (each.latencies for each in load.operations if each.name == "realtime.p99")
    return latencies, load


def test_every_watcher_receives_every_event(api: Api, make_target: Callable[..., Path], tmp_path: Path) -> None:
    latencies, load = _watched(api, make_target(api=api.url), RunFolder.create(tmp_path / "run"))
    received = len(api.created) * 2 * scenario.WATCHERS
    assert (latencies.samples, latencies.failed, latencies.negative) == (received, 0, 0)
    assert "notes" not in load.settings
    # Each region's receipts, by the second in which their events were committed.
    assert {each.name for each in load.observed} == {"realtime.p99"}
    assert [sum(second.ok for second in each.seconds) for each in load.observed] == [received // 2] * 2


def test_a_stream_that_ends_in_order_is_opened_again_at_once(api: Api) -> None:
    """The API ends a stream when its token expires, and leaves the connection open: for half a minute watchers waited
    for the end of a connection on which nothing would come any more."""
    api.feed_ends_at = 2

    async def main() -> None:
        client = ApiClient(api.url, CLIENT)
        await client.sign_in()
        receipts = realtime_watchers._Receipts()
        receipts.measure(0, 1 << 62)
        watcher = realtime_watchers._Watcher(client, receipts)
        keeping = asyncio.ensure_future(watcher.keep(asyncio.Semaphore(1)))
        try:
            async with asyncio.timeout(10):
                await watcher.watching.wait()
                for number in range(5):
                    body, deadline = b'{"id": "%d"}' % number, asyncio.get_running_loop().time() + 10
                    created = await client.request(b"POST", PROJECTS, deadline=deadline, body=body)
                    assert created.status == 201
                while receipts.events < 5:
                    await asyncio.sleep(0.01)
        finally:
            keeping.cancel()
            watcher.close()
            await client.close()
        assert (watcher.ended_in_order, watcher.connects, watcher.feed.lost, watcher.feed.doubled) == (1, 2, 0, 0)

    asyncio.run(main())


def test_an_event_that_is_never_sent_is_lost_at_every_watcher(
    api: Api, make_target: Callable[..., Path], tmp_path: Path
) -> None:
    api.unfed = {5}
    latencies, load = _watched(api, make_target(api=api.url), RunFolder.create(tmp_path / "run"))
    assert latencies.failed == 2 * scenario.WATCHERS
    assert f"{scenario.WATCHERS} events never received" in load.settings["notes"]
