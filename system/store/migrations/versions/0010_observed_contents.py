"""Observers see what projects, audit entries and notifications say, not only that they are there."""

from alembic import op

revision = "0010"
down_revision = "0009"

# View -> its columns with their types, what it reads.
VIEWS = {
    "projects": (
        """id uuid, name text, region text, country_code text, sector text, status text,
        funding_usd_millions numeric, version bigint, incarnation bigint""",
        """select p.id, p.name, p.region, p.country_code, p.sector, p.status, p.funding_usd_millions, p.version,
            p.incarnation
        from public.projects p""",
    ),
    "audit_trail": (
        "seq bigint, event_id uuid, entry text",
        "select a.seq, a.event_id, a.entry from public.audit_log a",
    ),
    "notifications": (
        "event_id uuid, state text, topic text, title text, body jsonb",
        "select n.event_id, n.state, n.topic, n.title, n.body from public.notification n",
    ),
}


def upgrade() -> None:
    for name, (columns, query) in VIEWS.items():
        op.execute(f"""
drop view observer.{name};
drop function observer.read_{name}();
create function observer.read_{name}() returns table ({columns}) stable language sql as $$ {query} $$;
revoke execute on function observer.read_{name}() from public;
grant execute on function observer.read_{name}() to covenant_observer;
create view observer.{name} as select * from observer.read_{name}();
grant select on observer.{name} to covenant_observer;
""")
