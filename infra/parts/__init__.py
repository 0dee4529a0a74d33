"""The parts, one file each."""

from infra.parts.archiver import Archiver
from infra.parts.base import Part
from infra.parts.covenant import COVENANT
from infra.parts.etcd import Etcd
from infra.parts.gateway import Gateway
from infra.parts.mirror import Mirror
from infra.parts.nats import Nats
from infra.parts.postgres import Postgres
from infra.parts.s3 import S3
from infra.parts.valkey import Valkey

_ALL: tuple[type[Part], ...] = (Etcd, Postgres, Nats, Mirror, Gateway, Valkey, S3, Archiver, *COVENANT)
PARTS = {part.kind: part for part in _ALL}
"""Kind of node in the topology -> the part that runs there."""
