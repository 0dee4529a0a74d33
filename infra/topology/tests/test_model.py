"""The topology file: the shipped one is sound, a wrong one is refused with the line that is wrong."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.topology import model as topology
from infra.topology.file import TopologyFile
from infra.topology.model import Region, great_circle_km

GOOD = """\
# A small one.
[sources]
mine = "measured by me"

[regions]
iad = { city = "Ashburn", aws = "us-east-1", cidr = "10.1.0.0/16", place = "Ashburn", lat = 39.04, lon = -77.49, source = "mine" }
[regions.ams]
city = "Amsterdam"
aws = "eu-west-1"
cidr = "10.0.0.0/16"
place = "Dublin"
lat = 53.35
lon = -6.26
source = "mine"

[rtt_ms]
iad-ams = { ms = 68, source = "mine" }

[sizes.tiny]
postgres = { primary = "iad-a", synchronous = "iad-b", replicas = ["ams"] }
api = [
    "iad",
    "ams",
]
relay = ["iad"]
[sizes.tiny.standby]
relay = ["ams"]
[sizes.tiny.bus]
regional = { nats = ["iad-a", "ams"] }
"""  # noqa: E501 - an inline table is one line


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "topology.toml"
    path.write_text(text)
    return path


def test_shipped_topology_knows_all_fifteen_links_and_where_each_figure_is_from() -> None:
    shipped = topology.load()
    assert sorted(shipped.regions) == ["ams", "iad", "jnb", "sfo", "sin", "syd"]
    assert set(shipped.links) == {frozenset(pair) for pair in combinations(shipped.regions, 2)}
    assert all(link.source for link in shipped.links.values())
    assert all(region.source for region in shipped.regions.values())


@pytest.mark.parametrize(
    ("pair", "floor_ms"),
    [("iad-ams", 55), ("iad-sfo", 39), ("iad-sin", 155), ("iad-syd", 157), ("iad-jnb", 128), ("sin-syd", 63)],
)
def test_light_in_fibre_sets_a_floor(pair: str, floor_ms: float) -> None:
    assert topology.load().links[frozenset(pair.split("-"))].floor_ms == pytest.approx(floor_ms, abs=0.6)


@pytest.mark.parametrize("size", ["core", "full"])
def test_a_size_has_a_primary_and_its_synchronous_standby_first(size: str) -> None:
    first, second, *others = [node for node in topology.load().nodes(size) if node.kind == "postgres"]
    assert (first.name, second.name) == ("postgres-iad-a", "postgres-iad-b")
    assert "iad" not in [node.region for node in others]


def test_the_full_size_has_standbys_for_the_loss_of_iad() -> None:
    shipped = topology.load()
    for bus in shipped.layouts("full"):
        spare = [node.name for node in shipped.nodes("full", bus) if node.standby]
        assert spare == ["relay-ams", "analytics-ams", "audit-logger-ams", "notifications-ams"]
    assert not any(node.standby for node in shipped.nodes("core"))


def test_nodes_are_named_by_kind_and_site(tmp_path: Path) -> None:
    tiny = topology.load(write(tmp_path, GOOD))
    assert [(node.name, node.region, node.standby) for node in tiny.nodes("tiny")] == [
        ("postgres-iad-a", "iad", False),
        ("postgres-iad-b", "iad", False),
        ("postgres-ams", "ams", False),
        ("api-iad", "iad", False),
        ("api-ams", "ams", False),
        ("relay-iad", "iad", False),
        ("nats-iad-a", "iad", False),
        ("nats-ams", "ams", False),
        ("relay-ams", "ams", True),
    ]
    assert tiny.running_regions("tiny") == ["iad", "ams"]
    assert tiny.layouts("tiny") == ["regional"]


def test_a_topology_of_ones_own_is_named_by_a_variable_and_kept_in_the_home(tmp_path: Path) -> None:
    own = topology.load(environment={topology.VARIABLE: str(write(tmp_path, GOOD))})
    assert own.distance_ms("ams", "iad") == 68
    home = tmp_path / "home"
    home.mkdir()
    own.keep(home)
    assert topology.kept_in(home) == own
    assert topology.load(environment={}).sha256 != own.sha256


WRONG = [
    # An unknown region.
    ("iad-ams = {", "iad-fra = {", 17, "rtt_ms.iad-fra: expected two of the file's regions"),
    ('    "ams",', '    "fra",', 23, "sizes.tiny.api: fra lies in no known region"),
    ("[regions.ams]", "[regions.fra]", 7, "regions.fra: the system knows no such region"),
    # Faster than light.
    ("ms = 68", "ms = 54", 17, "54 ms is less than light takes: from Ashburn to Dublin and back"),
    ("ms = 68", "ms = 0", 17, "expected a round trip above 0"),
    ("ms = 68", "ms = nan", 17, "expected a round trip above 0"),
    ("ms = 68", "ms = inf", 17, "up to 2000 ms"),
    # Networks.
    ('cidr = "10.0.0.0/16"', 'cidr = "10.1.128.0/17"', 10, "10.1.128.0/17 overlaps 10.1.0.0/16 of iad"),
    ('cidr = "10.0.0.0/16"', 'cidr = "10.0.0.1/16"', 10, "expected an IPv4 network"),
    ('cidr = "10.0.0.0/16"', 'cidr = "8.8.0.0/16"', 10, "expected a private network"),
    ('cidr = "10.0.0.0/16"', 'cidr = "127.0.0.0/16"', 10, "expected a private network"),
    ('cidr = "10.0.0.0/16"', 'cidr = "10.0.0.0/24"', 10, "expected a private network of /21 or larger"),
    ('cidr = "10.0.0.0/16"', 'cidr = "10.132.0.0/22"', 10, "expected a private network of /21 or larger"),
    # Primaries.
    ('primary = "iad-a"', 'primary = ["iad-a", "ams"]', 20, "expected one primary, found 2: iad-a, ams"),
    ('primary = "iad-a"', "primary = []", 20, "expected one primary, found none"),
    ('primary = "iad-a", ', "", 20, "missing required field `primary`"),
    ('synchronous = "iad-b"', 'synchronous = "ams-b"', 20, "expected the synchronous standby in the region"),
    ('replicas = ["ams"]', 'replicas = ["iad-b"]', 20, "iad-b is named twice"),
    ("postgres = {", "# postgres = {", 19, "sizes.tiny.postgres: expected one primary, found none"),
    ("{ nats = ", "{ etcd = ", 29, "expected at least one broker, found none"),
    # Types, keys.
    ("lat = 53.35", 'lat = "north"', 12, "regions.ams.lat: Expected `float`, got `str`"),
    ("lat = 53.35", "lat = 91", 12, "expected degrees from -90 to 90, found 91"),
    ("lon = -6.26", "", 7, "missing required field `lon`"),
    ("lon = -6.26", "lon = -6.26\nlan = 3", 14, "unknown field `lan`"),
    ('aws = "eu-west-1"', 'aws = "us-east-1"', 9, "us-east-1 is another region's already"),
    ('source = "mine"\n\n', 'source = "hearsay"\n\n', 14, "expected one of mine, as in [sources]; found 'hearsay'"),
    ('relay = ["iad"]\n', "relay = 3\n", 25, "sizes.tiny.relay: Expected `array`, got `int`"),
    ('relay = ["iad"]\n', "relay = []\n", 25, "expected at least one site"),
    ('relay = ["iad"]\n', 'relay = ["iad-1"]\n', 25, "expected a zone from a to f, found iad-1"),
    ('relay = ["iad"]\n', 'Relay = ["iad"]\n', 25, "expected a kind of part"),
    ('    "ams",', '    "iad",', 23, "iad is named twice"),
    ('[sizes.tiny.standby]\nrelay = ["ams"]', '[sizes.tiny.standby]\nrelay = ["iad"]', 27, "relay-iad is named twice"),
    ("regional = {", "circular = {", 29, "expected regional or stretched"),
    ("[sizes.tiny.bus]\nregional", "[sizes.tiny.what]\nregional", 28, "sizes.tiny.what"),
    ("[rtt_ms]", "[rtts]", 16, "expected one of the tables sources, regions, rtt_ms, sizes"),
    ("iad-ams = {", "iad-ams-syd = {", 17, "expected two of the file's regions"),
    # No TOML.
    ("iad-ams = {", "iad-ams = [", 17, "this is not TOML"),
    ('city = "Amsterdam"', 'city = "Amsterdam', 8, "this is not TOML"),
    ("[rtt_ms]", "[regions]", 16, "this is not TOML"),
]


@pytest.mark.parametrize(("right", "wrong", "line", "said"), WRONG)
def test_wrong_topology_is_refused_with_its_line(tmp_path: Path, right: str, wrong: str, line: int, said: str) -> None:
    assert GOOD.count(right) >= 1
    with pytest.raises(topology.TopologyError, match=re.escape(said)) as caught:
        topology.load(write(tmp_path, GOOD.replace(right, wrong, 1)))
    assert str(caught.value).startswith(f"topology.toml:{line}: "), caught.value


@pytest.mark.parametrize(
    ("right", "wrong", "line"),
    [
        ('relay = ["iad"]', 'relais = ["iad"]', 25),
        ("[sizes.tiny.standby]\nrelay", "[sizes.tiny.standby]\nrelais", 27),
        ('["iad-a", "ams"] }', '["iad-a", "ams"], relais = ["iad"] }', 29),
    ],
)
def test_a_kind_that_is_not_known_is_refused_with_its_line(tmp_path: Path, right: str, wrong: str, line: int) -> None:
    assert GOOD.count(right) == 1
    topology.load(write(tmp_path, GOOD)).check_kinds(["postgres", "api", "relay", "nats"])
    with pytest.raises(topology.TopologyError, match=rf"^topology\.toml:{line}: .*relais: no part is of this kind"):
        topology.load(write(tmp_path, GOOD.replace(right, wrong))).check_kinds(["postgres", "api", "relay", "nats"])


def test_a_missing_link_is_named(tmp_path: Path) -> None:
    text = topology.load().content.decode().replace("sin-syd = ", "# sin-syd = ")
    with pytest.raises(topology.TopologyError, match=r"rtt_ms: no round trip for syd-sin"):
        topology.load(write(tmp_path, text))


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xff\xfe", b"x = 1\r\n\x00", b"a" * (2 << 20)])
def test_what_is_no_topology_at_all_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "topology.toml"
    path.write_bytes(content)
    with pytest.raises(topology.TopologyError, match=r"^topology\.toml:"):
        topology.load(path)


@given(number=st.integers(0, GOOD.count("\n") - 1), text=st.text("abiz[]{}=\"'.,#-0123 \n", max_size=12))
def test_whatever_is_wrong_it_is_refused_with_a_line_or_taken(number: int, text: str) -> None:
    lines = GOOD.splitlines()
    lines[number] = text
    said = ""
    try:
        topology.parse("topology.toml", "\n".join(lines).encode())
    except topology.TopologyError as error:
        said = str(error)
    assert not said or re.match(r"topology\.toml:\d+: ", said)


EVERY_WAY = """\
# A comment.
[a]
b.c = 1

"d" = { e = 2 }
# In front of an entry of several lines.
f = [
  1, # x
  2,
]
[[g]]
h = 3
[a.z]
y = 1
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [("a", 2), ("a.b.c", 3), ("a.d.e", 5), ("a.f", 7), ("g", 11), ("a.z.y", 14), ("a.z.absent", 13), ("nowhere", 1)],
)
def test_the_line_of_an_entry_is_found_however_it_is_written(path: str, line: int) -> None:
    assert TopologyFile("t.toml", EVERY_WAY.encode()).line(tuple(path.split("."))) == line


def test_a_file_that_is_nested_without_end_is_refused() -> None:
    with pytest.raises(topology.TopologyError, match="this is not TOML"):
        TopologyFile("t.toml", b"a = " + b"[" * 100_000)


PLACES = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


@given(one=PLACES, other=PLACES)
def test_great_circles_are_the_same_both_ways_and_at_most_half_round_the_earth(
    one: tuple[float, float], other: tuple[float, float]
) -> None:
    here, there = (Region("x", "", "", "", "", *place, "") for place in (one, other))
    assert great_circle_km(here, there) == pytest.approx(great_circle_km(there, here), abs=1e-6)
    assert 0 <= great_circle_km(here, there) <= 20_016
    assert great_circle_km(here, here) == 0
