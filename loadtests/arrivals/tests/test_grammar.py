"""What a user may say of arrivals, and what is answered to everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.arrivals import grammar
from loadtests.arrivals.arrival_process import ArrivalProcess
from loadtests.arrivals.schedule import ScheduleError
from reports.evidence import Load, Recorder, RunFolder, Second


def load_record(seconds: dict[int, tuple[int, int]]) -> Load:
    """A load of these seconds: how many succeeded and failed in each."""
    begin_ns = 7_000_000_000
    return Load(
        scenario="api-browse", begin_ns=begin_ns, end_ns=begin_ns + 3_000_000_000, warmup_s=0.0, offered_per_s=50.0,
        offered=150, sent=150, ok=140, failed=10, unknown=0, schedule_lag=Recorder().close(), operations=[],
        seconds=[
            Second(at_ns=begin_ns + index * 1_000_000_000, ok=ok, failed=failed, p50_ms=None, p99_ms=None)
            for index, (ok, failed) in seconds.items()
        ],
    )  # fmt: skip


def asked(text: str, rate: float | None = None, duration_s: float | None = None) -> ArrivalProcess:
    return grammar.parse(text, rate=rate, usual_rate=300.0, duration_s=duration_s, usual_s=60.0)


@pytest.mark.parametrize(
    ("text", "points", "at_random"),
    [
        ("constant", [(0, 300), (60, 300)], False),
        ("poisson", [(0, 300), (60, 300)], True),
        ("ramp:50..500", [(0, 50), (60, 500)], False),
        ("step:100,0,300", [(0, 100), (20, 100), (20, 0), (40, 0), (40, 300), (60, 300)], False),
        ("spike:2000@20..25", [(0, 300), (20, 300), (20, 2000), (25, 2000), (25, 300), (60, 300)], False),
        ("spike:2000@20s..25s", [(0, 300), (20, 300), (20, 2000), (25, 2000), (25, 300), (60, 300)], False),
        ("stages:100@0,500@30s,500@2m,0@30s", [(0, 100), (30, 500), (150, 500), (180, 0)], False),
        ("stages:50@10,200@0,200@1m", [(0, 0), (10, 50), (10, 200), (70, 200)], False),
        ("poisson+stages:10@1m", [(0, 0), (60, 10)], True),
        ("poisson+ramp:0..10", [(0, 0), (60, 10)], True),
    ],
)
def test_each_shape_is_read(text: str, points: list[tuple[float, float]], at_random: bool) -> None:
    found = asked(text)
    assert (found.points, found.random, found.text) == (points, at_random, text)


def test_a_rate_and_a_duration_take_the_place_of_the_usual_ones() -> None:
    assert asked("poisson", 20.0, 5.0).points == [(0, 20), (5, 20)]
    assert asked("ramp:1..2", None, 5.0).points == [(0, 1), (5, 2)]


def test_a_csv_of_seconds_and_rates_is_offered_again(tmp_path: Path) -> None:
    file = tmp_path / "rate.csv"
    file.write_text("second,rate\n100,10\n101,30\n103,5\n")
    whole = [(0, 10), (1, 10), (1, 30), (3, 30), (3, 5), (5, 5)]
    assert asked(f"replay:{file}").points == whole
    assert asked(f"replay:{file}", duration_s=2).points == [(0, 10), (1, 10), (1, 30), (2, 30)]


def test_the_seconds_of_an_earlier_run_are_offered_again(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    folder.write_load(load_record({0: (90, 10), 2: (50, 0)}))
    expected = [(0, 100), (1, 100), (1, 0), (2, 0), (2, 50), (3, 50)]
    assert asked(f"replay:{tmp_path}").points == expected
    assert asked(f"replay:{tmp_path}/evidence/load/api-browse.json").points == expected


@pytest.mark.parametrize(
    ("text", "rate", "duration_s", "said"),
    [
        ("sometimes", None, None, "arrival: expected constant, poisson, ramp"),
        ("", None, None, "arrival: expected constant, poisson, ramp"),
        ("poisson+", 0.0, None, "rate: expected"),
        ("constant", None, 0.0, "duration: expected"),
        ("constant", 1e9, None, "rate: expected"),
        ("constant:5", None, None, "expected nothing behind constant"),
        ("ramp:50", None, None, "expected two rates, ramp:50..500; found '50'"),
        ("ramp:50..1e9", None, None, "rate: expected"),
        ("ramp:50..-1", None, None, "expected two rates"),
        ("ramp:0..0", None, None, "expected at least one operation"),
        ("ramp:50..500", 20.0, None, "ramp says the rates itself"),
        ("step:", None, None, "expected rates, step:100,200,300"),
        ("stages:", None, None, "expected a rate and how long it takes until it is reached, stages:100@0,500@30s"),
        ("stages:100@0,500", None, None, "stages:100@0,500@30s; found '500'"),
        ("stages:100@30x", None, None, "as in 90, 60s, 2m or 1h30m; found '30x'"),
        ("stages:-1@30s", None, None, "found '-1'"),
        ("stages:100@0", None, None, "expected seconds above 0"),
        ("stages:0@30s", None, None, "expected at least one operation"),
        ("stages:100@30s", 20.0, None, "rate: stages says the rates itself"),
        ("stages:100@30s", None, 60.0, "duration: stages says the lengths itself"),
        ("spike:2000", None, None, "spike:2000@20..25"),
        ("spike:2000@50..70", None, None, "expected seconds in order within 0..60"),
        ("replay:no-such.csv", None, None, "no-such.csv is missing"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    text: str, rate: float | None, duration_s: float | None, said: str
) -> None:
    with pytest.raises(ScheduleError) as caught:
        asked(text, rate, duration_s)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("0,1\n", "expected 2 to 100,000 seconds with a rate, found 1"),
        ("0,1\n1,two\n", "line 2: expected second,rate; found '1,two'"),
        ("0,1\n0,2\n", "line 2: expected a later second"),
        ("0,1\n1,-2\n", "rate: expected"),
    ],
)
def test_a_recording_that_is_none_is_refused_with_its_line(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "rate.csv"
    file.write_text(content)
    with pytest.raises(ScheduleError, match=said):
        asked(f"replay:{file}")


def test_stages_offer_their_integral_to_the_operation() -> None:
    """Counted by the schedule that engines follow, at the end of each stage, against the area under the lines."""
    lengths_s, rates = [30, 120, 30], [100, 500, 500, 0]
    found = asked("stages:100@0,500@30s,500@2m,0@30s")
    for users in (1, 3):
        schedules = [found.schedule(begin_ns=0, warmup_s=0.0, user=user, users=users) for user in range(users)]
        end_s, area = 0, 0.0
        for length_s, low, high in zip(lengths_s, rates, rates[1:], strict=False):
            end_s, area = end_s + length_s, area + (low + high) / 2 * length_s
            assert sum(schedule.due(end_s * 1_000_000_000 - 1) for schedule in schedules) == area
        assert sum(schedule.total for schedule in schedules) == area == 76_500


def test_a_warm_up_before_stages_has_the_rate_that_they_begin_with() -> None:
    schedule = asked("stages:100@0,500@30s").schedule(begin_ns=0, warmup_s=5.0)
    assert schedule.first_measured == 500
