"""What ends an engine early, and what does not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from loadtests.engine.process import Control
from system import event_loop

TOO_LATE = RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")


class _Transport(asyncio.Transport):
    def __init__(self, closing: bool) -> None:
        super().__init__()
        self._closing = closing

    def is_closing(self) -> bool:
        return self._closing


def _failure(**context: Any) -> str | None:
    async def work() -> str | None:
        control = Control()
        control.on_exception(asyncio.get_running_loop(), context)
        assert control.finish.is_set() == (control.failure is not None)
        return control.failure

    return asyncio.run(work())


def test_bytes_for_a_connection_that_was_closed_meanwhile_are_no_failure() -> None:
    assert _failure(message="Fatal error on SSL protocol", exception=TOO_LATE, transport=_Transport(True)) is None


def test_nor_are_those_that_uvloop_tells_of() -> None:
    async def work() -> str | None:
        loop, control = asyncio.get_running_loop(), Control()
        async with await loop.create_server(asyncio.Protocol, "127.0.0.1", 0) as server:
            transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
            transport.close()
            control.on_exception(
                loop, {"message": "Fatal error on SSL protocol", "exception": TOO_LATE, "transport": transport}
            )
        return control.failure

    assert event_loop.run(work()) is None


@pytest.mark.parametrize(
    "told",
    [
        {"message": "Fatal error on SSL protocol", "exception": TOO_LATE, "transport": _Transport(False)},
        {"message": "Fatal error on SSL protocol", "exception": OSError("disk full"), "transport": _Transport(True)},
        {"message": "Exception in callback", "exception": RuntimeError("a bug")},
        {"message": "something without an exception"},
    ],
)
def test_everything_else_is_a_failure(told: dict[str, Any]) -> None:
    assert _failure(**told)
