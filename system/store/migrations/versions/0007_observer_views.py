"""Views for observers, in a schema that no other role may use: tables may change behind them.

A view reads its table through a function, by the table's name and not by its identity. Otherwise no table could be
dropped while a view stands on it, and one that is set aside and restored would leave the view with the old one.
PostgreSQL puts the functions' text in their place, so that a query of a view is planned like one of its tables.
"""

from alembic import op

revision = "0007"
down_revision = "0006"

SCHEMA = """
create schema observer;
grant usage on schema observer to covenant_observer;
"""

# View -> its columns with their types, what it reads.
VIEWS = {
    "projects": (
        "id uuid, region text, sector text, status text, funding_usd_millions numeric, version bigint",
        "select p.id, p.region, p.sector, p.status, p.funding_usd_millions, p.version from public.projects p",
    ),
    "countries": (
        "id text, region text, gdp_usd_billions numeric, contribution_usd_millions numeric, version bigint",
        """select c.id, c.region, c.gdp_usd_billions, c.contribution_usd_millions, c.version
        from public.countries c""",
    ),
    "events": (
        """id bigint, event_id uuid, aggregate text, aggregate_id text, partition text, "position" bigint, type text,
        before jsonb, after jsonb, created_at timestamptz""",
        """select o.id, o.event_id, o.aggregate, o.aggregate_id, o.partition, p.position, o.type, o.before, o.after,
            o.created_at
        from public.outbox o
        left join public.outbox_position p on p.outbox_id = o.id and p.partition = o.partition""",
    ),
    "waiting_events": (
        "id bigint, aggregate text",
        "select q.id, q.aggregate from public.outbox_queue q",
    ),
    "relay_positions": (
        "partition text, next_position bigint, confirmed_position bigint",
        "select r.partition, r.next_position, r.confirmed_position from public.relay_partition r",
    ),
    "consumer_positions": (
        'consumer text, partition text, "position" bigint',
        "select c.consumer, c.partition, c.position from public.consumer_position c",
    ),
    "consumer_traces": (
        "consumer text, partition text, first bigint, last bigint",
        "select a.consumer, a.partition, a.first, a.last from public.consumer_applied a",
    ),
    "audit_trail": (
        "seq bigint, event_id uuid",
        "select a.seq, a.event_id from public.audit_log a",
    ),
    "notifications": (
        "event_id uuid, state text",
        "select n.event_id, n.state from public.notification n",
    ),
    "rollups": (
        "region text, sector text, status text, projects bigint, funding_usd_millions numeric",
        "select r.region, r.sector, r.status, r.projects, r.funding_usd_millions from public.rollup r",
    ),
}


def upgrade() -> None:
    op.execute(SCHEMA)
    for name, (columns, query) in VIEWS.items():
        op.execute(f"""
create function observer.read_{name}() returns table ({columns}) stable language sql as $$ {query} $$;
revoke execute on function observer.read_{name}() from public;
grant execute on function observer.read_{name}() to covenant_observer;
create view observer.{name} as select * from observer.read_{name}();
grant select on observer.{name} to covenant_observer;
""")
