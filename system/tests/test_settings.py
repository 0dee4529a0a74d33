"""Settings from the environment."""

import pytest

from system import settings

COMPLETE = {
    "COVENANT_REGION": "ams",
    "COVENANT_DATABASE_HOSTS": "127.0.0.1:1,127.0.0.1:2",
    "COVENANT_REPLICA": "127.0.0.1:2",
    "COVENANT_DATABASE_USER": "app",
    "COVENANT_DATABASE_PASSWORD": "s3cret-database",
    "COVENANT_NATS_URLS": "nats://127.0.0.1:3",
    "COVENANT_NATS_USER": "bus",
    "COVENANT_NATS_PASSWORD": "s3cret-bus",
    "COVENANT_VALKEY": "127.0.0.1:4",
    "COVENANT_VALKEY_PASSWORD": "s3cret-cache",
}


def test_what_is_set_is_typed_and_the_rest_has_defaults() -> None:
    loaded = settings.load({**COMPLETE, "COVENANT_PORT": "8123"})
    assert (loaded.region, loaded.port, loaded.stream_replicas) == ("ams", 8123, 3)


@pytest.mark.parametrize("name", COMPLETE)
def test_a_missing_variable_is_named(name: str) -> None:
    with pytest.raises(settings.SettingsError, match=f"{name} is not set"):
        settings.load({key: value for key, value in COMPLETE.items() if key != name})


def test_a_malformed_variable_says_what_was_expected() -> None:
    with pytest.raises(settings.SettingsError, match="COVENANT_PORT: expected int, found 'http'"):
        settings.load({**COMPLETE, "COVENANT_PORT": "http"})


def test_no_secret_is_in_its_repr() -> None:
    assert "s3cret" not in repr(settings.load(COMPLETE))
