"""What a system looks like to those who are not part of it (`infra.target`): from outside, and from inside a region."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from infra.parts import covenant, postgres
from infra.site import bus_layout, bus_users, certificates, security
from infra.site.site import Place
from infra.target import Login, Target, Tls


def of(place: Place, *, enter: Mapping[str, list[str]], second_api: Sequence[str]) -> Target:
    """The target for programs of this machine; `enter` is what leads a command into each region, `second_api` the
    command of `Target.second_api`."""
    site, secret = place.site, place.site.secrets
    regions = place.topology.running_regions(site.size)
    shared = covenant.region_apis(place)
    apis = {region: f"http://{place.outside(shared[region], 'region')}" for region in regions}
    secured = {region: f"https://{place.outside(shared[region], 'tls')}" for region in regions}
    return Target(
        run_id=site.run_id,
        regions=regions,
        api=apis,
        nearest={
            region: sorted(regions, key=lambda other: place.topology.distance_ms(region, other)) for region in regions
        },
        api_tls=secured if site.options.tls == "on" else {},
        web={region: f"http://{region}.localhost:{url.rpartition(':')[2]}" for region, url in apis.items()},
        clients={name: Login(user=name, password=key) for name, key in site.clients.items()},
        nats=bus_layout.urls(place, outside=True),
        nats_load=Login(user=bus_users.LOAD, password=secret["nats_load"]),
        nats_observer=Login(user=bus_users.OBSERVER, password=secret["nats_observer"]),
        nats_crowd=Login(user=bus_users.CROWD, password=secret["nats_crowd"]),
        nats_monitor=bus_layout.monitors(place),
        tls=tls(place),
        observer_dsn=postgres.dsn(place, "covenant_observer", secret["observer"]),
        outbox_dsn=postgres.dsn(place, "covenant_load", secret["load"]),
        replica_dsn={
            region: postgres.dsn(place, "covenant_observer", secret["observer"], node=covenant.replica(place, region))
            for region in regions
        },
        valkey={
            node.region: f"redis://:{secret['valkey']}@{place.outside(node, 'client')}/0"
            for node in place.nodes("valkey")
        },
        stream_replicas=covenant.STREAM_REPLICAS,
        durability=(
            f"NATS R{covenant.STREAM_REPLICAS}, file, sync_interval {site.options.sync_interval}; "
            + postgres.durability(site.options)
        ),
        security=security.in_words(site.options),
        enter=dict(enter),
        second_api=list(second_api),
    )


def from_inside(outside: Target, place: Place) -> Target:
    """The same for programs that were started inside a region: every node at its address there, over the links."""
    at = {str(port): place.address(node) for node in place.all_nodes() for port in place.site.ports_of(node)}

    def moved(found: re.Match[str]) -> str:
        return f"{at.get(found[1], '127.0.0.1')}:{found[1]}"

    text = re.sub(r"127\.0\.0\.1:(\d+)", moved, msgspec.json.encode(outside).decode())
    return msgspec.json.decode(text, type=Target)


def tls(place: Place) -> Tls | None:
    """What this machine's programs show and believe; None where the system runs without TLS."""
    if place.site.options.tls == "off":
        return None
    mine = certificates.client(place.site)
    return Tls(ca_file=str(mine.ca), cert_file=str(mine.cert), key_file=str(mine.key))
