"""PostgreSQL under Patroni: a primary, and members in other zones and regions that follow it.

`configuration` has a member's settings (durability, timings), `part` starts and stops it, `cluster` asks Patroni for
its state and has it promote a member, `access` is how this machine's programs connect.
"""

from infra.parts.postgres.access import DATABASE, admit_load, checkpoint_all, create_roles, dsn
from infra.parts.postgres.cluster import NotPromoted, cluster, member_state, missing_redundancy, primary, promote
from infra.parts.postgres.configuration import durability, parameters, timings
from infra.parts.postgres.part import Postgres

__all__ = [
    "DATABASE",
    "NotPromoted",
    "Postgres",
    "admit_load",
    "checkpoint_all",
    "cluster",
    "create_roles",
    "dsn",
    "durability",
    "member_state",
    "missing_redundancy",
    "parameters",
    "primary",
    "promote",
    "timings",
]
