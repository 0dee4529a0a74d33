"""The command of a night: how it refuses. No system runs."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

import covenant


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--profile", "smoke", "--hours", "2"], "--hours is for the profile nightly, found smoke"),
        (["--profile", "soak", "--hours", "2"], "--hours is for the profile nightly, found soak"),
        (["--profile", "nightly", "--hours", "0.5"], "Invalid value for '--hours'"),
        (["--profile", "nightly", "--duration", "60"], "--duration is for the profile soak, found nightly"),
        (["--profile", "soak", "--duration", "-1"], "expected seconds, or a length with units"),
        (["--profile", "weekly"], "'weekly' is not one of 'nightly', 'smoke', 'soak'"),
    ],
)
def test_what_a_profile_has_no_use_for_is_refused_before_anything_starts(options: list[str], expected: str) -> None:
    result = CliRunner().invoke(covenant.main, ["nightly", *options])
    assert result.exit_code == 2
    assert expected in result.output
