"""In which order a system starts, as data: what is started, what is waited for, what is done once then."""

from __future__ import annotations

from typing import Literal, NamedTuple

from infra.parts.covenant import COVENANT

Task = Literal[
    "await primary", "create roles", "migrate", "admit load", "create streams", "create mirrors", "await redundancy",
    "checkpoint",
]  # fmt: skip
"""What is done once while a system starts, by the parts that run by then."""

_SERVERS = ("etcd", "nats", "mirror", "gateway", "valkey", "s3")
OWN = tuple(part.kind for part in COVENANT)
"""Kinds that are the system's own processes: they start last and end first."""


class Stage(NamedTuple):
    """One stage of the start. First parts are started, then others waited for, then the tasks are done in turn."""

    fraction: float
    """How much of the whole start lies behind when the stage begins, 0 to 1."""
    progress: str
    starts: tuple[str, ...] = ()
    """Kinds whose parts are started, without standbys; a part that runs already is left alone."""
    first_only: bool = False
    """Only the first part of each kind: the member that bootstraps the others."""
    awaits: tuple[str, ...] = ()
    """Kinds whose started parts have to be ready."""
    tasks: tuple[Task, ...] = ()


ORDER = (
    Stage(0.02, "starting etcd, NATS, Valkey, S3", starts=_SERVERS, awaits=("etcd",)),
    Stage(
        0.15, "starting PostgreSQL's primary", starts=("postgres",), first_only=True, awaits=("postgres",),
        tasks=("await primary", "create roles"),
    ),
    Stage(
        0.4, "starting PostgreSQL's replicas, loading countries and projects", starts=("postgres", "archiver"),
        tasks=("migrate", "admit load"),
    ),
    Stage(
        0.6, "waiting for NATS, Valkey, S3; creating streams", awaits=_SERVERS,
        tasks=("create streams", "create mirrors"),
    ),
    Stage(
        0.7, "starting the APIs, the relay and the consumers", starts=OWN, awaits=("postgres", "archiver", *OWN),
    ),
    Stage(0.95, "waiting for full redundancy", tasks=("await redundancy", "checkpoint")),
)  # fmt: skip
