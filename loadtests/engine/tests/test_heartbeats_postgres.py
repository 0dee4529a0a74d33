"""The statement that looks for heartbeats, on a real server: each is said once, in whatever order they come."""

from __future__ import annotations

import threading
from functools import partial

import psycopg

from infra.machine.waiting import until
from loadtests.engine.heartbeats import Seen, looking, parse
from system.conftest import database as database
from system.conftest import port as port
from system.conftest import postgres_server as postgres_server
from system.conftest import settings as settings
from system.settings import Settings
from system.wire.load import BEAT

_SAID_WITHIN_S = 20.0
_LOOKS_S = 60.0


def test_one_that_comes_late_is_said_once_and_so_is_every_later_one(database: Settings) -> None:
    host, _, number = database.replica.partition(":")
    dsn = f"host={host} port={number} dbname={database.database}"
    said: list[Seen | None] = []
    observer = psycopg.connect(f"{dsn} user=covenant_observer", autocommit=True)
    observer.add_notice_handler(lambda notice: said.append(parse(notice.message_primary or "")))

    def is_said(beat: int) -> bool | None:
        return any(one is not None and one.beat == beat for one in said) or None

    def look() -> None:
        try:
            observer.execute(looking(_LOOKS_S).encode())
        except psycopg.errors.QueryCanceled:
            return

    looks = threading.Thread(target=look)
    looks.start()
    try:
        with psycopg.connect(f"{dsn} user=covenant_owner", autocommit=True) as writer:
            assert until(lambda: said or None, _SAID_WITHIN_S, every_s=0.005), "it does not look"
            for beat in [1, 2, 3, 5, 4, *range(6, 60)]:
                writer.execute(BEAT, {"beat": beat})
                assert until(partial(is_said, beat), _SAID_WITHIN_S, every_s=0.002), beat
    finally:
        observer.cancel_safe()
        looks.join(_SAID_WITHIN_S)
        observer.close()
    assert [one.beat for one in said if one] == [1, 2, 3, 5, 4, *range(6, 60)]
