"""The topology file: the shipped one is sound, a wrong one is refused with the entry that is wrong."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from infra import topology

GOOD = """
[regions]
iad = { city = "Ashburn", aws = "us-east-1", cidr = "10.1.0.0/16" }
ams = { city = "Amsterdam", aws = "eu-west-1", cidr = "10.0.0.0/16" }
[rtt_ms]
iad-ams = 68
[sizes.tiny]
api = ["iad"]
nats = ["iad-a", "ams"]
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "topology.toml"
    path.write_text(text)
    return path


def test_shipped_topology_knows_all_fifteen_links() -> None:
    shipped = topology.load()
    assert sorted(shipped.regions) == ["ams", "iad", "jnb", "sfo", "sin", "syd"]
    assert set(shipped.rtt_ms) == {frozenset(pair) for pair in combinations(shipped.regions, 2)}


def test_core_has_a_primary_and_a_standby_in_one_region() -> None:
    first, second, *others = [node for node in topology.load().nodes("core") if node.kind == "postgres"]
    assert (first.name, second.name) == ("postgres-iad-a", "postgres-iad-b")
    assert [node.region for node in others] == ["ams", "syd"]


def test_nodes_are_named_by_kind_and_site(tmp_path: Path) -> None:
    tiny = topology.load(write(tmp_path, GOOD))
    assert [(node.name, node.region) for node in tiny.nodes("tiny")] == [
        ("api-iad", "iad"),
        ("nats-iad-a", "iad"),
        ("nats-ams", "ams"),
    ]
    assert tiny.running_regions("tiny") == ["iad"]


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("iad-ams = 68", "iad-ams = 0", "rtt_ms.iad-ams: expected a round trip above 0 ms"),
        ("iad-ams = 68", "iad-fra = 68", "rtt_ms.iad-fra: expected two known regions"),
        ("iad-ams = 68", "", "no round trip for iad-ams"),
        ('["iad-a", "ams"]', '["fra"]', "sizes.tiny.nats: fra lies in no known region"),
        ('["iad-a", "ams"]', '["ams", "ams"]', "a site is named twice"),
    ],
)
def test_wrong_topology_is_refused_with_its_entry(tmp_path: Path, right: str, wrong: str, said: str) -> None:
    with pytest.raises(topology.TopologyError, match=said):
        topology.load(write(tmp_path, GOOD.replace(right, wrong)))
