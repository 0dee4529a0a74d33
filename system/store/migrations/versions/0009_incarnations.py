"""An item's incarnation: another number each time that an id is made anew.

Versions count from 1 again in an item that was deleted and made anew. Without an incarnation beside them, an ETag of
the old item would match the new one: a cache would show the old item as unchanged, and a change meant for it would be
made in the new one. The numbers are random, since a sequence's last values can be lost with a failover and given again,
and at most 2**53, so that every client of JSON can hold them.
"""

from alembic import op

revision = "0009"
down_revision = "0008"

_TABLES = ("countries", "projects", "users", "incidents")
_NUMBER = "bigint not null default floor(random() * 9007199254740991)::bigint + 1 check (incarnation > 0)"


def upgrade() -> None:
    for table in _TABLES:
        op.execute(f"alter table {table} add column incarnation {_NUMBER}")
