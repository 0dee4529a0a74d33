"""The data that a system starts with, and only then the triggers: what was there from the start is no event.

The roll-ups start as what the events of these rows would have added up to.
"""

from alembic import context, op
from sqlalchemy import text

from system.data.countries import countries
from system.data.projects import projects
from system.wire import Country, Project

revision = "0002"
down_revision = "0001"

ROLLUPS = """
insert into rollup
select region, sector, status, count(*), sum(funding_usd_millions) from projects group by 1, 2, 3;
insert into country_rollup
select region, count(*), sum(contribution_usd_millions) from countries group by 1;
"""

TRIGGERS = """
create trigger outbox after insert or update or delete on countries
    for each row execute function outbox_append();
create trigger outbox after insert or update or delete on projects
    for each row execute function outbox_append();
"""


def upgrade() -> None:
    first = countries()
    _insert("countries", first)
    _insert("projects", projects(first, count=context.config.attributes["settings"].projects))
    op.execute(ROLLUPS)
    op.execute(TRIGGERS)


def _insert(table: str, rows: list[Country] | list[Project]) -> None:
    names = [name for name in rows[0].__struct_fields__ if name != "incarnation"]  # A later migration adds it.
    places = ", ".join(f":{name}" for name in names)
    statement = text(f"insert into {table} ({', '.join(names)}) values ({places})")
    op.get_bind().execute(statement, [{name: getattr(row, name) for name in names} for row in rows])
