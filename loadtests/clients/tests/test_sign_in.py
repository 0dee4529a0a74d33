"""Staying signed in, against a real HTTP server: the first token, renewals beside requests, and their failures."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from infra.target import Login
from loadtests.clients import sign_in
from loadtests.clients.http import HttpClient
from loadtests.clients.sign_in import ApiClient, SignInError
from loadtests.tests.load_servers import CLIENT, DEADLINE_S, Api
from system import event_loop
from system.wire import PROJECTS, TOKENS


async def _status(client: HttpClient) -> int:
    return (await client.get(PROJECTS, deadline=asyncio.get_running_loop().time() + DEADLINE_S)).status


async def _until_renewed(api: Api, client: HttpClient, count: int) -> None:
    """Send requests until the server has seen `count` different tokens come back."""
    async with asyncio.timeout(DEADLINE_S):
        while len(api.used) < count:
            assert await _status(client) == 200


def test_every_request_carries_the_token_of_one_sign_in(api: Api) -> None:
    async def run() -> None:
        client = ApiClient(api.url, CLIENT)
        await client.sign_in()
        assert [await _status(client) for _ in range(5)] == [200] * 5
        await client.close()

    event_loop.run(run())
    assert api.used == {"token-0": 5}
    assert api.seen[f"POST {TOKENS}"] == 1


def test_without_a_token_the_answer_is_401(api: Api) -> None:
    async def run() -> None:
        client = HttpClient(api.url)
        assert await _status(client) == 401
        await client.close()

    event_loop.run(run())


def test_the_token_is_renewed_before_it_runs_out(api: Api) -> None:
    api.token_valid_s = 1

    async def run() -> None:
        client = ApiClient(api.url, CLIENT)
        await client.sign_in()
        await _until_renewed(api, client, 3)
        await client.close()

    event_loop.run(run())


def test_a_renewal_that_fails_is_tried_again_while_the_old_token_holds(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.token_valid_s = 1
    monkeypatch.setattr(sign_in, "_RETRY_S", 0.01)

    async def run() -> None:
        client = ApiClient(api.url, CLIENT)
        await client.sign_in()
        api.broken[TOKENS] = 503
        async with asyncio.timeout(DEADLINE_S):
            while api.seen[f"POST {TOKENS}"] < 4:
                assert await _status(client) == 200
        assert set(api.used) == {"token-0"}
        del api.broken[TOKENS]
        await _until_renewed(api, client, 2)
        await client.close()

    event_loop.run(run())


@pytest.mark.parametrize("login", [CLIENT, Login(user="client", password="a-wrong-secret")])
def test_a_first_sign_in_that_fails_says_who_and_why_and_no_secret(api: Api, login: Login) -> None:
    if login == CLIENT:
        api.broken[TOKENS] = 503

    async def run() -> None:
        client = ApiClient(api.url, login)
        with pytest.raises(SignInError) as caught:
            await client.sign_in()
        found = "503" if login == CLIENT else "401"
        assert f"POST {TOKENS} as client: expected a token, found status {found}" in str(caught.value)
        assert login.password not in str(caught.value)
        await client.close()

    event_loop.run(run())


def test_what_is_no_token_is_refused(api: Api) -> None:
    api.token_valid_s = "soon"  # type: ignore[assignment]

    async def run() -> None:
        client = ApiClient(api.url, CLIENT)
        with pytest.raises(SignInError, match=r"found Expected `int`, got `str`"):
            await client.sign_in()
        await client.close()

    event_loop.run(run())


def test_a_body_is_sent_with_its_length(api: Api) -> None:
    async def run() -> None:
        client = ApiClient(api.url, CLIENT)
        await client.sign_in()
        deadline = asyncio.get_running_loop().time() + DEADLINE_S
        try:
            response = await client.request(b"POST", "/api/v1/projects", deadline=deadline, body=b'{"id":"a"}')
        finally:
            await client.close()
        assert (response.status, response.json(dict[str, Any])["id"]) == (201, "a")
        assert api.created == ["a"]

    event_loop.run(run())
