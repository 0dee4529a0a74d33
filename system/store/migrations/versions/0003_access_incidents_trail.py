"""Who may do what, incidents, refusals, idempotency, and what the further consumers keep.

Everything that people should be able to follow leaves by the outbox, refusals too: so that there is one trail.
"""

from pathlib import Path

import msgspec
from alembic import context, op
from sqlalchemy import text

from system.wire import NewUser

revision = "0003"
down_revision = "0002"

ACCESS = """
create table users (
    id text primary key check (id ~ '^[a-z0-9][a-z0-9-]{1,62}$'),
    role text not null check (role in ('reader', 'steward', 'operator', 'admin')),
    region text check (region in ('ams', 'iad', 'jnb', 'sfo', 'sin', 'syd')),
    rate_per_s integer not null check (rate_per_s between 1 and 1000000),
    disabled boolean not null default false,
    version bigint not null default 1,
    check ((role = 'steward') = (region is not null))
);
-- Apart from users, so that no event and no answer can carry it along. A hash of 32 random bytes cannot be guessed.
create table user_secret (
    id text primary key references users (id) on delete cascade,
    secret_sha256 text not null check (secret_sha256 ~ '^[0-9a-f]{64}$')
);

-- Requests refused for the same reason within a moment; only ever added to.
create table refusals (
    id bigint generated always as identity primary key,
    client_id text not null,
    region text not null,
    method text not null,
    route text not null,
    status integer not null,
    reason text not null,
    count integer not null,
    last_at timestamptz not null
);
"""

INCIDENTS = """
create table incidents (
    id uuid primary key default gen_random_uuid(),
    region text not null check (region in ('ams', 'iad', 'jnb', 'sfo', 'sin', 'syd')),
    kind text not null check (kind in ('reported', 'consumer-lag', 'failover', 'dead-letter')),
    severity text not null check (severity in ('info', 'warning', 'critical')),
    status text not null default 'open' check (status in ('open', 'closed')),
    subject text not null,
    title text not null check (length(title) between 1 and 200),
    detail text not null,
    raised_by text not null,
    opened_at timestamptz not null default transaction_timestamp(),
    closed_at timestamptz,
    version bigint not null default 1,
    check ((status = 'closed') = (closed_at is not null))
);
create unique index incidents_open on incidents (kind, subject) where status = 'open' and kind <> 'reported';
create index on incidents (region, id);
create index on incidents (status, id);

-- What the watch has seen last: `timeline` of PostgreSQL, so that a failover is noticed after the fact.
create table watch_seen (
    name text primary key,
    value text not null
);
"""

IDEMPOTENCY = """
create table idempotency (
    client_id text not null,
    key text not null,
    request_sha256 text not null,
    status integer not null,
    answer jsonb not null,
    created_at timestamptz not null default transaction_timestamp(),
    primary key (client_id, key)
);
create index on idempotency (created_at);
"""

# Lists go on behind the value that they are sorted by, and the id.
SORTS = """
create index on projects (name, id);
create index on projects (funding_usd_millions, id);
create index on incidents (opened_at, id);
"""

EVENTS = """
alter table outbox alter column region drop not null;
alter table outbox drop constraint outbox_type_check;
alter table outbox add check (type in ('created', 'updated', 'deleted', 'refused'));
create index on outbox (created_at);
insert into relay_partition (partition)
select aggregate || '.' || number from unnest(array['users', 'incidents']) aggregate, generate_series(0, 3) number;

-- The stream that a partition's confirmed position speaks of: one with another creation time has forgotten it all.
create table relay_stream (
    aggregate text primary key,
    created_at text not null
);

create trigger outbox after insert or update or delete on users
    for each row execute function outbox_append();
create trigger outbox after insert or update or delete on incidents
    for each row execute function outbox_append();
create function outbox_append_refusal() returns trigger language plpgsql as $$
begin
    insert into outbox (aggregate, aggregate_id, partition, region, type, after)
    values ('users', new.client_id, outbox_partition('users', new.client_id), new.region, 'refused',
        to_jsonb(new) - 'id');
    return null;
end $$;
create trigger outbox after insert on refusals for each row execute function outbox_append_refusal();
"""

CONSUMERS = """
-- For a consumer that keeps its effects here, `position` moves in the transaction of the effect. For one that keeps
-- them in its region's Valkey it is a report (`reported_at`), at or behind the truth; its name ends in the region.
alter table consumer_position add reported_at timestamptz;
insert into consumer_position (consumer, partition)
select consumer, partition from unnest(array['analytics', 'audit-logger', 'notifications']) consumer, relay_partition
on conflict do nothing;

-- Positions that a consumer moved past without their effect: a replay applies each of them once.
create table consumer_skipped (
    consumer text not null,
    partition text not null,
    position bigint not null,
    reason text not null,
    primary key (consumer, partition, position)
);

-- The audit trail: `hash` is SHA-256 over `previous_hash` and `entry`; see system.domain.hash_chain.
create table audit_log (
    seq bigint primary key check (seq > 0),
    event_id uuid not null unique,
    partition text not null,
    position bigint not null,
    entry text not null,
    previous_hash text not null,
    hash text not null,
    unique (partition, position)
);
create function audit_log_refuse() returns trigger language plpgsql as $$
begin
    raise exception 'the audit trail is append-only: % is refused', tg_op;
end $$;
create trigger append_only before update or delete or truncate on audit_log
    for each statement execute function audit_log_refuse();
revoke update, delete on audit_log from covenant_app;

create table notification (
    event_id uuid primary key,
    topic text not null,
    title text not null,
    body jsonb not null,
    state text not null default 'pending' check (state in ('pending', 'delivered', 'expired')),
    attempts integer not null default 0,
    next_attempt_at timestamptz not null default transaction_timestamp(),
    last_error text,
    created_at timestamptz not null default transaction_timestamp(),
    delivered_at timestamptz
);
create index on notification (next_attempt_at) where state = 'pending';
create index on notification (created_at) where state <> 'pending';
"""


def upgrade() -> None:
    for statements in (ACCESS, INCIDENTS, IDEMPOTENCY, SORTS, EVENTS, CONSUMERS):
        op.execute(statements)
    users_file = context.config.attributes["settings"].users_file
    if users_file:
        _insert_users(msgspec.json.decode(Path(users_file).read_bytes(), type=list[NewUser]))


def _insert_users(users: list[NewUser]) -> None:
    link = op.get_bind()
    for user in users:
        values = msgspec.structs.asdict(user)
        link.execute(
            text("insert into users (id, role, region, rate_per_s) values (:id, :role, :region, :rate_per_s)"), values
        )
        link.execute(text("insert into user_secret (id, secret_sha256) values (:id, :secret_sha256)"), values)
