"""Heartbeats, by which replication lag is measured: rows that are written over and over, so that the table stays small.

Only the load's role may write them (`system.wire.load`).
"""

from alembic import op

from system.wire.load import BEATS_KEPT

revision = "0008"
down_revision = "0007"

TABLE = f"""
create table heartbeat (
    slot integer primary key,
    beat bigint not null default 0,
    written_at timestamptz
);
insert into heartbeat (slot) select generate_series(0, {BEATS_KEPT} - 1);
revoke insert, update, delete on heartbeat from covenant_app;
"""

VIEW = """
create function observer.read_heartbeats() returns table (beat bigint, written_at timestamptz) stable language sql as $$
    select h.beat, h.written_at from public.heartbeat h
$$;
revoke execute on function observer.read_heartbeats() from public;
grant execute on function observer.read_heartbeats() to covenant_observer;
create view observer.heartbeats as select * from observer.read_heartbeats();
grant select on observer.heartbeats to covenant_observer;
"""


def upgrade() -> None:
    for statements in (TABLE, VIEW):
        op.execute(statements)
