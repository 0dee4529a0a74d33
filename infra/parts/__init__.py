"""The parts, one file each."""

from infra.parts.base import Part
from infra.parts.covenant import Analytics, Api, CacheInvalidator, Relay
from infra.parts.etcd import Etcd
from infra.parts.nats import Nats
from infra.parts.postgres import Postgres
from infra.parts.s3 import S3
from infra.parts.valkey import Valkey

PARTS: dict[str, type[Part]] = {
    part.kind: part for part in (Etcd, Postgres, Nats, Valkey, S3, Api, Relay, Analytics, CacheInvalidator)
}
"""Kind of node in the topology -> what runs there."""
