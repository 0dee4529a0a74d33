"""Positions leave the outbox for a table of their own, so that its rows never change.

Giving an event its position used to make its row anew, with an entry in each of five indexes, one of them in random
order: 1.2 KB of WAL, which every standby and the archive took, too. What waits for a position stands in a queue, which
is emptied by the transaction that gives it: a statement reads that and never the outbox behind it, however long it is.

Nobody looks an event up by its event_id; the trail and the notifications keep it unique where it counts. Events lie in
the order of their time, so that an index of ranges (BRIN) finds the old ones.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

# Before anything is copied: what is appended meanwhile would come into neither table.
POSITIONS = """
lock table outbox in access exclusive mode;
create table outbox_position (
    outbox_id bigint primary key,
    partition text not null,
    position bigint not null,
    unique (partition, position)
);
insert into outbox_position (outbox_id, partition, position)
select id, partition, position from outbox where position is not null;
"""

QUEUE = """
create table outbox_queue (
    aggregate text not null,
    id bigint not null,
    primary key (aggregate, id)
);
insert into outbox_queue (aggregate, id) select aggregate, id from outbox where position is null;

-- With its owner's rights: who may append to the outbox need not touch the queue.
create function outbox_enqueue() returns trigger language plpgsql
security definer set search_path = public, pg_temp as $$
begin
    insert into outbox_queue (aggregate, id) select aggregate, id from added;
    return null;
end $$;
revoke execute on function outbox_enqueue() from public;
create trigger enqueue after insert on outbox referencing new table as added
    for each statement execute function outbox_enqueue();
"""

OUTBOX = """
alter table outbox drop column position;
alter table outbox drop constraint outbox_event_id_key;
drop index outbox_created_at_idx;
create index on outbox using brin (created_at) with (pages_per_range = 32, autosummarize = on);

-- The partition, which is the same in both, lets a place in it be found by the index of the positions.
create view outbox_events as
select o.*, p.position from outbox o left join outbox_position p on p.outbox_id = o.id and p.partition = o.partition;
"""

# Events and their positions are added and pruned; only the trigger puts anything into the queue.
GRANTS = """
revoke update on outbox, outbox_position from covenant_app;
revoke insert, update on outbox_queue from covenant_app;
revoke insert, update, delete on outbox_events from covenant_app;
"""


def upgrade() -> None:
    for statements in (POSITIONS, QUEUE, OUTBOX, GRANTS):
        op.execute(statements)
