"""Finding what is old among what is only ever added to: traces of what was applied, and refusals.

Both lie in the order of their time, so that an index of ranges (BRIN) is a few pages and costs writes nothing;
autovacuum fills it in.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

OLD_TRACES = """
create index on consumer_applied using brin (applied_at) with (pages_per_range = 32, autosummarize = on);
create index on refusals using brin (last_at) with (pages_per_range = 32, autosummarize = on);
"""


def upgrade() -> None:
    op.execute(OLD_TRACES)
