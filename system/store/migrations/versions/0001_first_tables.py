"""The first tables: what people edit, the outbox beside it, positions of relay and consumers, roll-ups.

The outbox row is written by a trigger, so that no change of a country or a project can be made without its
event, whoever makes it. There is no downgrade: a copy from before is how one goes back.
"""

from alembic import op

revision = "0001"
down_revision = None

EDITED = """
create table countries (
    id text primary key check (id ~ '^[A-Z]{3}$'),
    name text not null,
    continent text not null,
    region text not null check (region in ('ams', 'iad', 'jnb', 'sfo', 'sin', 'syd')),
    gdp_usd_billions numeric(14, 3) not null check (gdp_usd_billions >= 0),
    gdp_year integer not null,
    gdp_source text not null,
    gdp_approximate boolean not null,
    contribution_usd_millions numeric(14, 2) not null check (contribution_usd_millions >= 0),
    version bigint not null default 1
);
create index on countries (region, id);

create table projects (
    id uuid primary key default gen_random_uuid(),
    name text not null check (length(name) between 1 and 200),
    region text not null check (region in ('ams', 'iad', 'jnb', 'sfo', 'sin', 'syd')),
    country_code text not null references countries (id),
    sector text not null check (sector in
        ('Agriculture', 'Minerals', 'Energy', 'Technology', 'Health', 'Education')),
    status text not null check (status in ('Active', 'Pending', 'Completed')),
    funding_usd_millions numeric(14, 2) not null check (funding_usd_millions >= 0),
    version bigint not null default 1
);
create index on projects (region, id);
create index on projects (sector, id);
create index on projects (status, id);
create index on projects (country_code);
"""

OUTBOX = """
create table outbox (
    id bigint generated always as identity primary key,
    event_id uuid not null unique default gen_random_uuid(),
    aggregate text not null,
    aggregate_id text not null,
    partition text not null,
    region text not null,
    type text not null check (type in ('created', 'updated', 'deleted')),
    occurred_at timestamptz not null default transaction_timestamp(),
    before jsonb,
    after jsonb,
    position bigint,
    created_at timestamptz not null default clock_timestamp(),
    unique (partition, position)
);
create index outbox_unassigned on outbox (aggregate, id) where position is null;
create index on outbox (aggregate_id);

-- The definition is system.domain.partitions.partition_of.
create function outbox_partition(aggregate text, aggregate_id text) returns text immutable language sql as
$$ select aggregate || '.' || get_byte(sha256(convert_to(aggregate_id, 'UTF8')), 0) % 4 $$;

-- After the row is changed its lock is held until commit, so the outbox ids of one aggregate are in the
-- order in which its changes commit.
create function outbox_append() returns trigger language plpgsql as $$
declare
    changed record := coalesce(new, old);
begin
    insert into outbox (aggregate, aggregate_id, partition, region, type, before, after)
    values (tg_table_name, changed.id, outbox_partition(tg_table_name, changed.id::text), changed.region,
        case tg_op when 'INSERT' then 'created' when 'UPDATE' then 'updated' else 'deleted' end,
        to_jsonb(old), to_jsonb(new));
    return null;
end $$;
"""

POSITIONS = """
create table relay_partition (
    partition text primary key,
    epoch bigint not null default 0,
    next_position bigint not null default 1,
    confirmed_position bigint not null default 0
);
insert into relay_partition (partition)
select aggregate || '.' || number from unnest(array['countries', 'projects']) aggregate, generate_series(0, 3) number;

create table consumer_position (
    consumer text not null,
    partition text not null,
    position bigint not null default 0,
    primary key (consumer, partition)
);
insert into consumer_position (consumer, partition) select 'analytics', partition from relay_partition;

-- Written with the effect, in its transaction: ranges that overlap are doubled effects, holes are lost ones.
create table consumer_applied (
    consumer text not null,
    partition text not null,
    first bigint not null,
    last bigint not null,
    applied_at timestamptz not null default clock_timestamp()
);
create index on consumer_applied (consumer, partition, first);
"""

ROLLUPS = """
create table rollup (
    region text not null,
    sector text not null,
    status text not null,
    projects bigint not null,
    funding_usd_millions numeric(16, 2) not null,
    primary key (region, sector, status)
);
create table country_rollup (
    region text primary key,
    countries bigint not null,
    contribution_usd_millions numeric(16, 2) not null
);
"""

# Observers may read every table, those of later migrations too; the application changes rows, not tables.
GRANTS = """
grant usage on schema public to covenant_app, covenant_observer;
grant select, insert, update, delete on all tables in schema public to covenant_app;
grant select on all tables in schema public to covenant_observer;
alter default privileges in schema public grant select, insert, update, delete on tables to covenant_app;
alter default privileges in schema public grant select on tables to covenant_observer;
revoke insert, update, delete on alembic_version from covenant_app;
"""


def upgrade() -> None:
    for statements in (EDITED, OUTBOX, POSITIONS, ROLLUPS, GRANTS):
        op.execute(statements)
