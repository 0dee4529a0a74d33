"""The HTTP client against a real server on loopback: connections, limits, and how a request ends."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress

import pytest
import trustme

from loadtests.clients.http import Answer, HttpClient, RequestError, Response
from system import event_loop

LONG_S = 20.0
SHORT_S = 0.15


class Scripted:
    """A server that answers every request with the same bytes, as they are; None never answers."""

    def __init__(self, answer: bytes | None, *, close: bool = False, tls: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._tls = tls
        self._close = close
        self._writers: list[asyncio.StreamWriter] = []
        self.connections = 0
        self.requests = 0
        self.most_at_once = 0
        self._at_once = 0
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __aenter__(self) -> Scripted:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                self._at_once += 1
                self.most_at_once = max(self.most_at_once, self._at_once)
                await self.go_on.wait()
                self._at_once -= 1
                if self._answer is not None:
                    writer.write(self._answer)
                    await writer.drain()
                if self._close:
                    break
        writer.close()


OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: "7"\r\n\r\nhi'


async def _get(client: HttpClient, seconds: float = LONG_S) -> Response:
    return await client.get("/x", deadline=asyncio.get_running_loop().time() + seconds)


async def _error(client: HttpClient, seconds: float = LONG_S) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await _get(client, seconds)
    return caught.value


def test_requests_share_a_connection_that_is_kept_alive() -> None:
    async def run() -> None:
        async with Scripted(OK) as server:
            client = HttpClient(server.url)
            for _ in range(20):
                response = await _get(client)
                assert (response.status, response.body, response.headers["etag"]) == (200, b"hi", '"7"')
            assert (server.connections, server.requests) == (1, 20)
            await client.close()

    event_loop.run(run())


def test_a_connection_that_the_server_closes_is_not_used_again() -> None:
    async def run() -> None:
        closing = OK.replace(b"ETag", b"Connection: close\r\nETag")
        async with Scripted(closing, close=True) as server:
            client = HttpClient(server.url)
            assert [(await _get(client)).status for _ in range(3)] == [200] * 3
            assert server.connections == 3
            await client.close()

    event_loop.run(run())


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 200, b"abcde"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b"hi"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", 503, b""),
    ],
    ids=["chunked", "after 100 Continue", "no content", "an error is an answer"],
)
def test_answers_are_read_whole(answer: bytes, status: int, body: bytes) -> None:
    async def run() -> None:
        async with Scripted(answer) as server:
            client = HttpClient(server.url)
            for _ in range(2):
                response = await _get(client)
                assert (response.status, response.body) == (status, body)
            assert server.connections == 1
            await client.close()

    event_loop.run(run())


def test_headers_are_those_of_the_answer_and_not_of_what_came_before_it() -> None:
    async def run() -> None:
        async with Scripted(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK) as server:
            client = HttpClient(server.url)
            assert (await _get(client)).headers == {"content-length": "2", "etag": '"7"'}
            await client.close()

    event_loop.run(run())


@pytest.mark.parametrize("more", [OK, b"HTTP/1.1 200"], ids=["an answer", "a part of one"])
def test_a_connection_that_says_more_than_it_was_asked_is_not_used_again(more: bytes) -> None:
    async def run() -> None:
        async with Scripted(OK + more) as server:
            client = HttpClient(server.url)
            assert [(await _get(client)).body for _ in range(3)] == [b"hi"] * 3
            assert server.connections == 3
            await client.close()

    event_loop.run(run())


def test_no_answer_in_time_is_unknown_and_ends_the_connection() -> None:
    async def run() -> None:
        async with Scripted(None) as server:
            client = HttpClient(server.url)
            for expected in (1, 2):
                error = await _error(client, SHORT_S)
                assert (error.outcome, server.connections) == ("unknown", expected)
                assert "timeout" in error.detail
            await client.close()

    event_loop.run(run())


@pytest.mark.parametrize("before", [LONG_S, SHORT_S / 2], ids=["a later deadline before", "an earlier one"])
def test_a_deadline_holds_whatever_the_one_before_it_was(before: float) -> None:
    async def run() -> None:
        async with Scripted(OK) as server:
            client = HttpClient(server.url, connections=1)
            loop = asyncio.get_running_loop()
            assert (await _get(client, before)).status == 200
            server.go_on.clear()
            begin = loop.time()
            assert (await _error(client, SHORT_S)).outcome == "unknown"
            assert loop.time() - begin >= SHORT_S * 0.95, "uvloop rounds to a millisecond"
            server.go_on.set()
            assert (await _get(client)).status == 200
            await client.close()

    event_loop.run(run())


def test_a_refused_connection_is_a_failure_for_nothing_was_sent() -> None:
    async def run() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # Bound, not listening: nobody else gets the port meanwhile.
            client = HttpClient(f"http://127.0.0.1:{taken.getsockname()[1]}")
            error = await _error(client)
            assert (error.outcome, "never sent" in error.detail) == ("fail", True)
            await client.close()

    event_loop.run(run())


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", b"what is this\r\n\r\n"],
    ids=["before the answer", "in the answer", "not HTTP"],
)
def test_a_connection_lost_after_sending_is_unknown(answer: bytes) -> None:
    async def run() -> None:
        async with Scripted(answer, close=True) as server:
            client = HttpClient(server.url)
            assert (await _error(client)).outcome == "unknown"
            await client.close()

    event_loop.run(run())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
    ],
    ids=["body", "chunked body", "headers"],
)
def test_an_answer_beyond_the_limit_is_refused(answer: bytes) -> None:
    async def run() -> None:
        async with Scripted(answer) as server:
            client = HttpClient(server.url, max_body_bytes=1000)
            error = await _error(client)
            assert (error.outcome, "at most" in error.detail or "not HTTP" in error.detail) == ("unknown", True)
            await client.close()

    event_loop.run(run())


class _Gone:
    """A transport whose connection below was lost without a word, as uvloop's over TLS."""

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        raise RuntimeError("unable to perform operation; the handler is closed")

    def abort(self) -> None:
        raise RuntimeError("unable to perform operation; the handler is closed")


def test_a_connection_lost_below_its_transport_ends_one_request_and_nothing_else() -> None:
    async def run() -> None:
        async with Scripted(OK) as server:
            client = HttpClient(server.url, connections=1)
            assert (await _get(client)).status == 200
            (connection,) = client._open
            real, connection._transport = connection._transport, _Gone()  # type: ignore[assignment]
            error = await _error(client)
            assert (error.outcome, "handler is closed" in error.detail) == ("unknown", True)
            assert (await _get(client)).status == 200
            assert server.connections == 2
            real.abort()
            await client.close()

    event_loop.run(run())


def test_whoever_is_called_back_shares_connections_with_whoever_waits() -> None:
    async def run() -> None:
        async with Scripted(OK) as server:
            client = HttpClient(server.url, connections=1)
            loop = asyncio.get_running_loop()
            ended: list[Answer] = []
            client.start_get("/x", loop.time() + LONG_S, ended.append)
            assert (await _get(client)).status == 200
            assert len(ended) == 1
            assert server.connections == 1
            await client.close()

    event_loop.run(run())


def test_a_client_that_is_closed_tells_everybody() -> None:
    async def run() -> None:
        async with Scripted(OK) as server:
            server.go_on.clear()
            client = HttpClient(server.url, connections=1)
            under_way, waiting = (asyncio.ensure_future(_error(client)) for _ in range(2))
            while server.requests == 0:
                await asyncio.sleep(0)
            await client.close()
            assert [(await each).outcome for each in (under_way, waiting)] == ["unknown", "fail"]
            server.go_on.set()

    event_loop.run(run())


def test_requests_wait_for_a_free_connection_and_all_are_served() -> None:
    async def run() -> None:
        async with Scripted(OK) as server:
            client = HttpClient(server.url, connections=2)
            responses = await asyncio.gather(*(_get(client) for _ in range(9)))
            assert [each.status for each in responses] == [200] * 9
            assert (server.connections, server.requests) == (2, 9)
            assert server.most_at_once <= 2
            await client.close()

    event_loop.run(run())


def test_a_request_that_never_got_a_connection_was_never_sent_and_the_next_ones_are_served() -> None:
    async def run() -> None:
        async with Scripted(OK) as server:
            server.go_on.clear()
            client = HttpClient(server.url, connections=1)
            first = asyncio.ensure_future(_get(client))
            while server.requests == 0:
                await asyncio.sleep(0)
            error = await _error(client, SHORT_S)
            assert (error.outcome, "never sent" in error.detail) == ("fail", True)
            later = asyncio.ensure_future(_get(client))
            server.go_on.set()
            assert [(await first).status, (await later).status] == [200, 200]
            assert server.requests == 2
            await client.close()

    event_loop.run(run())


@pytest.mark.parametrize("url", ["ftp://127.0.0.1:1", "127.0.0.1:1", "http://127.0.0.1:1/path"])
def test_only_a_base_address_is_taken(url: str) -> None:
    with pytest.raises(ValueError, match="expected http://host:port"):
        HttpClient(url)


def test_an_https_address_is_not_taken_without_what_verifies_it() -> None:
    with pytest.raises(ValueError, match="expected a context to verify the server with"):
        HttpClient("https://127.0.0.1:1")


def test_a_request_whose_time_is_up_is_never_sent() -> None:
    async def run() -> None:
        async with Scripted(OK) as server:
            client = HttpClient(server.url)
            assert (await _get(client)).status == 200
            error = await _error(client, -0.001)
            assert (error.outcome, "never sent" in error.detail, server.requests) == ("fail", True, 1)
            assert (await _get(client)).status == 200
            assert server.connections == 1
            await client.close()

    event_loop.run(run())


def _server_context(authority: trustme.CA, highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = highest
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def _client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    authority.configure_trust(context)
    return context


def test_over_tls_requests_share_a_connection_that_is_kept_alive() -> None:
    authority = trustme.CA()

    async def run() -> None:
        async with Scripted(OK, tls=_server_context(authority)) as server:
            client = HttpClient(server.url, tls=_client_context(authority))
            assert [(await _get(client)).body for _ in range(5)] == [b"hi"] * 5
            assert (server.connections, server.requests) == (1, 5)
            await client.close()

    event_loop.run(run())


@pytest.mark.parametrize("wrong", ["authority", "version"])
def test_a_server_that_is_not_to_be_trusted_is_sent_nothing(wrong: str) -> None:
    authority, other = trustme.CA(), trustme.CA()
    highest = ssl.TLSVersion.TLSv1_2 if wrong == "version" else ssl.TLSVersion.TLSv1_3

    async def run() -> None:
        async with Scripted(OK, tls=_server_context(authority, highest)) as server:
            client = HttpClient(server.url, tls=_client_context(other if wrong == "authority" else authority))
            error = await _error(client)
            assert (error.outcome, "never sent" in error.detail, server.requests) == ("fail", True, 0)
            await client.close()

    event_loop.run(run())
