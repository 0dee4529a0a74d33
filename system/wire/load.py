"""What a load may do in PostgreSQL that no client may: append events to the outbox, as many writes would, and write
heartbeats; nothing else. Its role is `covenant_load`.
"""

from __future__ import annotations

_COLUMNS = "aggregate, aggregate_id, partition, region, type, before, after"

ADMIT = f"""
grant insert ({_COLUMNS}) on outbox to covenant_load;
grant select (slot, beat), update (beat, written_at) on heartbeat to covenant_load"""
"""For the owner, once the tables are there."""

BEATS_KEPT = 64
"""How many heartbeats there are at a time: each takes the place of the one that is so many older."""

LAST_BEAT = "select max(beat) from heartbeat"

BEAT = f"""
update heartbeat set beat = %(beat)s, written_at = clock_timestamp() where slot = %(beat)s::bigint %% {BEATS_KEPT}"""
"""Write the heartbeat of this number, above the last, with the server's own instant. In psycopg's parameters."""

APPEND = f"""
insert into outbox ({_COLUMNS})
select 'projects', e.id, outbox_partition('projects', e.id), 'iad', 'updated',
    jsonb_build_object('id', e.id, 'name', 'Load', 'region', 'iad', 'country_code', 'USA', 'sector', 'Health',
        'status', 'Active', 'version', 1, 'incarnation', 1, 'funding_usd_millions', 10.00 + e.was),
    jsonb_build_object('id', e.id, 'name', 'Load', 'region', 'iad', 'country_code', 'USA', 'sector', 'Health',
        'status', 'Active', 'version', 2, 'incarnation', 1, 'funding_usd_millions', 10.00 + e.becomes)
from (
    select %(prefix)s || lpad(to_hex(n), 12, '0') as id,
        case when n %% 2 = 1 then 0.01 else 0.00 end as was,
        case when n %% 2 = 0 and n < %(last)s then 0.01 else 0.00 end as becomes
    from generate_series(%(first)s::bigint, %(last)s::bigint) n
) e"""
"""Append the events numbered `first` ... `last`, each about a project that is not there: its id is `prefix` and the
number in twelve hexadecimal digits. Its funding goes up by ten thousand dollars, in the next event down again, so that
the totals are in the end what they were. In psycopg's parameters."""
