"""Whether analytics' roll-ups equal the projects: the one definition that load and chaos check by."""

from system.wire import observer

UNEQUAL_GROUPS = f"""
select count(*) from {observer.ROLLUPS} r full join (
    select region, sector, status, count(*) as projects, sum(funding_usd_millions) as funding
    from {observer.PROJECTS} group by region, sector, status
) p using (region, sector, status)
where coalesce(r.projects, 0) <> coalesce(p.projects, 0)
or coalesce(r.funding_usd_millions, 0) <> coalesce(p.funding, 0)
"""
"""SQL for an observer: how many groups differ in number or funding. One statement, so that both sides are of one
instant."""
HOW = "groups (region, sector, status) whose roll-up by analytics differs from the sum over the projects"
