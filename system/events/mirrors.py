"""`python -m system.events.mirrors`: create a mirror of each stream in every region of COVENANT_MIRRORS, then end.

A mirror is a region's copy of a stream. It follows the stream over a leaf node connection, with the same sequences, and
survives the loss of the bus. It accepts no publishes until `system.events.promote` turns it into a stream.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sys
from functools import partial

from nats.js import JetStreamContext
from nats.js.api import ExternalStream, StreamConfig, StreamSource
from nats.js.errors import NotFoundError

from system import process
from system.events import bus, streams
from system.process import DependencyState
from system.settings import Settings, SettingsError
from system.wire import STREAMS

_DEADLINE_S = 90.0
_ANSWER_WITHIN_S = 5.0


class NotAMirror(Exception):
    """A stream of this name exists and is no mirror, or mirrors another bus. The message says what to do."""


def parse(text: str) -> dict[str, list[str]]:
    """{"ams": ["a"], "iad": ["b", "c"]} from `ams=a;iad=b,c`: region -> its servers. SettingsError."""
    found: dict[str, list[str]] = {}
    for entry in filter(None, text.split(";")):
        region, _, urls = entry.partition("=")
        if not urls:
            raise SettingsError(f"COVENANT_MIRRORS: expected region=url,url;..., found {entry!r}")
        found[region] = urls.split(",")
    return found


def mirror_config(stream: StreamConfig, domain: str, region: str, replicas: int) -> StreamConfig:
    """The configuration of a region's mirror of a stream in another JetStream domain. The delivery subject names the
    region, so that its leaf node connection need carry no other messages."""
    return StreamConfig(
        name=stream.name,
        retention=stream.retention,
        storage=stream.storage,
        max_msgs=stream.max_msgs,
        max_age=stream.max_age,
        max_msg_size=stream.max_msg_size,
        allow_rollup_hdrs=stream.allow_rollup_hdrs,
        allow_direct=stream.allow_direct,
        num_replicas=replicas,
        mirror=StreamSource(
            name=str(stream.name), external=ExternalStream(api=f"$JS.{domain}.API", deliver=f"$JS.M.{region}")
        ),
    )


async def ensure_mirror(js: JetStreamContext, config: StreamConfig) -> None:
    """Create the mirror unless it exists. NotAMirror if another stream has its name."""
    assert config.name is not None
    try:
        found = (await js.stream_info(config.name)).config.mirror
    except NotFoundError:
        await js.add_stream(config)
        return
    if found is None or found.external != (config.mirror and config.mirror.external):
        raise NotAMirror(
            f"{config.name}: expected a mirror that follows {config.mirror and config.mirror.external}, "
            f"found {found and found.external}: stop that server, wipe its store and start it again"
        )


async def _main(settings: Settings, log: logging.Logger) -> None:
    async with asyncio.timeout(_DEADLINE_S), asyncio.TaskGroup() as group:
        for region, urls in parse(settings.mirrors).items():
            group.create_task(_make(settings, region, urls, log))
    process.make_ready(settings.ready_file)


async def _make(settings: Settings, region: str, urls: list[str], log: logging.Logger) -> None:
    """Create all mirrors of a region."""
    dependencies = DependencyState(log)
    there = dataclasses.replace(settings, region=region, nats_urls=",".join(urls))
    client = await bus.connect(there, "mirrors", dependencies, log)
    try:
        js = client.jetstream(timeout=_ANSWER_WITHIN_S)
        replicas = min(len(urls), settings.stream_replicas)
        wanted = [streams.stream_config(stream, replicas) for stream in STREAMS]
        for stream in [*wanted, streams.letters_config(replicas)]:
            mirror = mirror_config(stream, settings.bus_domain, region, replicas)
            await bus.retry_jetstream(dependencies, partial(ensure_mirror, js, mirror))
    finally:
        await client.close()


if __name__ == "__main__":
    sys.exit(process.run("mirrors", _main, once=True))
