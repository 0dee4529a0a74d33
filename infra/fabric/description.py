"""What a system looks like to those who are not part of it (`infra.target`): from outside, and from inside a region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.parts import covenant, postgres
from infra.site import bus_layout, bus_users, certificates, security
from infra.site.site import Place, Reach
from infra.target import Login, Target, Tls
from infra.topology.model import Node


def of(place: Place, reach: Reach, *, enter: Mapping[str, list[str]], second_api: Sequence[str]) -> Target:
    """The target for programs that reach nodes in this way; `enter` is what leads a command into each region,
    `second_api` the command of `Target.second_api`."""
    site, secret = place.site, place.site.secrets
    regions = place.topology.running_regions(site.size)
    shared = covenant.region_apis(place)

    def database(role: str, node: Node | None = None) -> str:
        return postgres.dsn(place, f"covenant_{role}", secret[role], node=node, reach=reach)

    return Target(
        run_id=site.run_id,
        regions=regions,
        api={region: f"http://{reach(shared[region], 'region')}" for region in regions},
        nearest={
            region: sorted(regions, key=lambda other: place.topology.distance_ms(region, other)) for region in regions
        },
        api_tls={region: f"https://{reach(shared[region], 'tls')}" for region in regions}
        if site.options.tls == "on" else {},
        web={region: f"http://{region}.localhost:{site.port(shared[region], 'region')}" for region in regions},
        clients={name: Login(user=name, password=key) for name, key in site.clients.items()},
        nats=bus_layout.urls(place, reach=reach),
        nats_load=Login(user=bus_users.LOAD, password=secret["nats_load"]),
        nats_observer=Login(user=bus_users.OBSERVER, password=secret["nats_observer"]),
        nats_crowd=Login(user=bus_users.CROWD, password=secret["nats_crowd"]),
        nats_monitor=bus_layout.monitors(place, reach),
        tls=tls(place),
        observer_dsn=database("observer"),
        outbox_dsn=database("load"),
        replica_dsn={region: database("observer", covenant.replica(place, region)) for region in regions},
        valkey={
            node.region: f"redis://:{secret['valkey']}@{reach(node, 'client')}/0" for node in place.nodes("valkey")
        },
        stream_replicas=covenant.STREAM_REPLICAS,
        durability=(
            f"NATS R{covenant.STREAM_REPLICAS}, file, sync_interval {site.options.sync_interval}; "
            + postgres.durability(site.options)
        ),
        security=security.in_words(site.options),
        enter=dict(enter),
        second_api=list(second_api),
    )  # fmt: skip


def tls(place: Place) -> Tls | None:
    """What this machine's programs show and believe; None where the system runs without TLS."""
    if place.site.options.tls == "off":
        return None
    mine = certificates.client(place.site)
    return Tls(ca_file=str(mine.ca), cert_file=str(mine.cert), key_file=str(mine.key))
