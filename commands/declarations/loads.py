"""Whether each scenario and each profile has what a verdict on it needs: rows to judge, and a measure of each row."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from commands.run.profiles import PROFILES
from loadtests import own_locustfile
from loadtests.request import Request, UsageError, check
from loadtests.scenarios import scenarios
from reports.policy.claims import ClaimError, RowClaim, load_claims
from reports.policy.policy import Policy, PolicyError, load_policy, matches
from reports.verdict.measures import MEASURES

_LOAD = "load."
"""Begins the name of the profile of a scenario that is run by itself."""


def problems() -> list[str]:
    """Every omission, in a line each."""
    try:
        claims = load_claims()
        policy = load_policy(claims=claims)
    except (ClaimError, PolicyError) as error:
        return [str(error)]
    wanted = [*PROFILES, *(_LOAD + name for name in (*scenarios(), own_locustfile.NAME))]
    found = [
        *profiles_missing(wanted, policy.profiles),
        *profiles_without_scenario(policy.profiles, (*scenarios(), own_locustfile.NAME)),
        *rows_without_measure(policy.profiles, policy, claims, MEASURES),
        *rows_without_minimum(policy.profiles, policy, claims),
        *loads_that_cannot_be({name: [each.request for each in profile.loads] for name, profile in PROFILES.items()}),
    ]
    return list(dict.fromkeys(found))


def problems_of(profile: str) -> list[str]:
    """What keeps a run of this profile from being judged."""
    claims = load_claims()
    policy = load_policy(claims=claims)
    missing = profiles_missing([profile], policy.profiles)
    return missing or rows_without_measure([profile], policy, claims, MEASURES)


def profiles_missing(wanted: Iterable[str], profiles: Container[str]) -> list[str]:
    """Profiles that can be run, of which the policy does not say what they judge."""
    return [
        f"reports/policy.yaml says nowhere what profile {name} judges: add `  {name}: [ROW, ..., harness.honesty]` "
        "below `profiles:`"
        for name in wanted
        if name not in profiles
    ]


def profiles_without_scenario(profiles: Iterable[str], known: Container[str]) -> list[str]:
    """Profiles of single loads that nothing can run."""
    names = [profile.removeprefix(_LOAD) for profile in profiles if profile.startswith(_LOAD)]
    return [
        f'profile {_LOAD}{name} judges a scenario that is not there: add `SCENARIO = Scenario(name="{name}", ...)` in '
        f"loadtests/scenarios/{name.replace('-', '_')}.py, or take `{_LOAD}{name}` out of reports/policy.yaml"
        for name in names
        if name not in known
    ]


def rows_without_measure(
    profiles: Iterable[str], policy: Policy, claims: Iterable[RowClaim], measures: Container[str]
) -> list[str]:
    """Rows that one of these profiles judges though nothing measures them."""
    judged = {family for family in _judged(profiles, policy, claims) if family not in measures}
    return [
        f'row {family} is judged and nothing measures it: add `"{family}": <module>.<function>,` to MEASURES in '
        "reports/verdict/measures/__init__.py, or the row to `unbuilt:` in reports/policy.yaml"
        for family in sorted(judged)
    ]


def rows_without_minimum(profiles: Iterable[str], policy: Policy, claims: Iterable[RowClaim]) -> list[str]:
    """Rows that one of these profiles judges on however little evidence."""
    return [
        f"row {family} is judged and reports/policy.yaml does not say on how many samples: add "
        f"`  {family}: {{samples: N, why: ...}}` below `minimum:`"
        for family in sorted(_judged(profiles, policy, claims))
        if family not in policy.minimum
    ]


def _judged(profiles: Iterable[str], policy: Policy, claims: Iterable[RowClaim]) -> set[str]:
    """The families of the rows that are built and that one of these profiles judges."""
    patterns = [
        pattern for name in profiles for pattern in (*policy.profiles[name], *policy.where_measured.get(name, ()))
    ]
    return {claim.family for claim in claims if matches(claim.row, patterns) and policy.unbuilt_why(claim.row) is None}


def loads_that_cannot_be(loads: Mapping[str, Iterable[Request]]) -> list[str]:
    """Loads that a profile of `nightly` asks for in vain."""
    found = []
    for profile, requests in loads.items():
        for request in requests:
            try:
                check(request)
            except UsageError as error:
                found.append(f"profile {profile} asks for a load that cannot be: {error}; see commands/run/profiles.py")
    return found
