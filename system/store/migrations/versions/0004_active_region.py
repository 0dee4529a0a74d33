"""Which region the relay works in.

When that region is lost another one takes over. The lost one may come back without knowing, with a relay of its own:
the database, of which there is one, says who is to work.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

ACTIVE_REGION = """
create table active_region (
    one boolean primary key default true check (one),
    region text check (region in ('ams', 'iad', 'jnb', 'sfo', 'sin', 'syd'))
);
comment on column active_region.region is 'null: whichever relay comes';
insert into active_region default values;
"""


def upgrade() -> None:
    op.execute(ACTIVE_REGION)
