"""Validation of projects, countries, users and incidents: the checks that a type alone cannot make.

Each check returns a list of sentences, one a problem, so that a client learns of all problems at once.
"""

from __future__ import annotations

import re
from decimal import Decimal
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from system.domain.money import LARGEST_GDP_USD_BILLIONS, LARGEST_USD_MILLIONS, has_at_most_digits
from system.wire import (
    IncidentStatus,
    NewIncident,
    NewProject,
    NewUser,
    Region,
    Role,
    Sector,
    Severity,
    Status,
)

NAME_LENGTH_MAX = 200
SOURCE_LENGTH_MAX = 200
TITLE_LENGTH_MAX = 200
DETAIL_LENGTH_MAX = 2_000
GDP_YEAR_MIN, GDP_YEAR_MAX = 1900, 2200
RATE_PER_S_MAX = 1_000_000
_RESERVED = ("anonymous", "system")
"""Names that the audit trail uses itself: no user may have them."""


class ProjectPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A JSON merge patch of a project. Absent fields stay as they are; null is not allowed."""

    name: str | UnsetType = UNSET
    region: Region | UnsetType = UNSET
    country_code: str | UnsetType = UNSET
    sector: Sector | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    funding_usd_millions: Decimal | UnsetType = UNSET


class CountryPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A JSON merge patch of a country: its GDP and the source of that figure."""

    gdp_usd_billions: Decimal | UnsetType = UNSET
    gdp_year: int | UnsetType = UNSET
    gdp_source: str | UnsetType = UNSET
    gdp_approximate: bool | UnsetType = UNSET


class UserPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A JSON merge patch of a machine client. `region` may be null: only a steward has one."""

    role: Role | UnsetType = UNSET
    region: Region | UnsetType | None = UNSET
    rate_per_s: int | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    secret_sha256: str | UnsetType = UNSET


class IncidentPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A JSON merge patch of an incident. A closed incident may be opened again."""

    status: IncidentStatus | UnsetType = UNSET
    severity: Severity | UnsetType = UNSET
    title: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET


def problems_of_project(project: NewProject | ProjectPatch) -> list[str]:
    """The problems of the fields that are given."""
    problems: list[str] = []
    if isinstance(project.name, str):
        problems += _text("name", project.name, NAME_LENGTH_MAX)
    if isinstance(project.country_code, str) and not is_country_code(project.country_code):
        problems.append(f"country_code: expected three capital letters, found {project.country_code[:20]!r}")
    if isinstance(project.funding_usd_millions, Decimal):
        problems += _amount("funding_usd_millions", project.funding_usd_millions, LARGEST_USD_MILLIONS, 2)
    if isinstance(project, NewProject):
        problems += _new_id(project.id)
    return problems


def problems_of_country(patch: CountryPatch) -> list[str]:
    """The problems of the fields that are given."""
    problems: list[str] = []
    if isinstance(patch.gdp_usd_billions, Decimal):
        problems += _amount("gdp_usd_billions", patch.gdp_usd_billions, LARGEST_GDP_USD_BILLIONS, 3)
    if isinstance(patch.gdp_year, int) and not GDP_YEAR_MIN <= patch.gdp_year <= GDP_YEAR_MAX:
        problems.append(f"gdp_year: expected a year from {GDP_YEAR_MIN} to {GDP_YEAR_MAX}, found {patch.gdp_year}")
    if isinstance(patch.gdp_source, str):
        problems += _text("gdp_source", patch.gdp_source, SOURCE_LENGTH_MAX)
    return problems


def problems_of_user(user: NewUser | UserPatch) -> list[str]:
    """The problems of the fields that are given."""
    problems: list[str] = []
    if isinstance(user, NewUser):
        if not is_user_id(user.id) or user.id in _RESERVED:
            problems.append(
                f"id: expected 2 to 63 of a-z, 0-9 and -, and none of {', '.join(_RESERVED)}, found {user.id[:70]!r}"
            )
        problems += problems_of_role(user.role, user.region)
    if isinstance(user.rate_per_s, int) and not 1 <= user.rate_per_s <= RATE_PER_S_MAX:
        problems.append(f"rate_per_s: expected 1 to {RATE_PER_S_MAX}, found {user.rate_per_s}")
    if isinstance(user.secret_sha256, str) and not re.fullmatch("[0-9a-f]{64}", user.secret_sha256):
        problems.append("secret_sha256: expected 64 hexadecimal digits in lower case, found something else")
    return problems


def problems_of_role(role: Role, region: Region | None) -> list[str]:
    """A problem if a steward has no region, or another role has one."""
    if (role == "steward") == (region is not None):
        return []
    return [f"region: expected one for a steward and null for every other role, found {region} for {role}"]


def problems_of_incident(incident: NewIncident | IncidentPatch) -> list[str]:
    """The problems of the fields that are given."""
    problems: list[str] = []
    if isinstance(incident.title, str):
        problems += _text("title", incident.title, TITLE_LENGTH_MAX)
    if isinstance(incident.detail, str):
        lines = incident.detail.split("\n")
        if len(incident.detail) > DETAIL_LENGTH_MAX:
            problems.append(f"detail: expected at most {DETAIL_LENGTH_MAX} characters, found {len(incident.detail)}")
        elif not all(line.isprintable() for line in lines):
            problems.append("detail: expected lines of printable characters")
    if isinstance(incident, NewIncident):
        problems += _new_id(incident.id)
    return problems


def is_user_id(text: str) -> bool:
    """Whether a text is a valid id of a machine client."""
    return re.fullmatch("[a-z0-9][a-z0-9-]{1,62}", text) is not None


def is_uuid(text: str) -> bool:
    """Whether a text is a UUID in canonical form, so that equal ids are equal strings."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def is_country_code(text: str) -> bool:
    """Whether a text has the form of an ISO 3166-1 alpha-3 code."""
    return len(text) == 3 and text.isascii() and text.isalpha() and text.isupper()


def _new_id(text: str | None) -> list[str]:
    if text is None or is_uuid(text):
        return []
    return [f"id: expected a UUID in lower case with hyphens, found {text[:40]!r}"]


def _text(field: str, text: str, length_max: int) -> list[str]:
    if not 1 <= len(text) <= length_max:
        return [f"{field}: expected 1 to {length_max} characters, found {len(text)}"]
    if not text.isprintable() or text != text.strip():
        return [f"{field}: expected printable characters without space around them"]
    return []


def _amount(field: str, amount: Decimal, largest: Decimal, digits: int) -> list[str]:
    if not amount.is_finite() or not 0 <= amount <= largest:
        return [f"{field}: expected 0 to {largest}, found {amount:.3g}"]
    if not has_at_most_digits(amount, digits):
        return [f"{field}: expected at most {digits} digits after the point, found {str(amount)[:40]}"]
    return []
