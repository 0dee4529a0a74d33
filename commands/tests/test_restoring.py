"""What people may ask of a restore."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from commands import restoring

NOW = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2026-11-24T16:48:13.5", "2026-11-24 16:48:13.5Z", "2026-11-24T18:48:13.5+02:00"])
def test_an_instant_is_utc_unless_it_says_otherwise(text: str) -> None:
    assert restoring.instant(text, NOW) == datetime(2026, 11, 24, 16, 48, 13, 500_000, tzinfo=UTC)


def test_what_is_no_instant_or_lies_ahead_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected an instant like 2026-11-24T17:00:00\+00:00, found 'yesterday'"):
        restoring.instant("yesterday", NOW)
    with pytest.raises(ValueError, match="lies ahead: it is 2026-11-24T17:00:00"):
        restoring.instant("2026-11-24T17:00:01", NOW)
