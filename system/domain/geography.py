"""The six regions of Covenant, each a city and the AWS region that serves it.

Keyed by the ids that stand in `wire.Region`, in the order in which people list them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from system.wire import Region, Sector, Status


@dataclass(frozen=True)
class Place:
    city: str
    aws_region: str


PLACES: dict[Region, Place] = {
    "ams": Place("Amsterdam", "eu-west-1"),
    "iad": Place("Ashburn", "us-east-1"),
    "jnb": Place("Johannesburg", "af-south-1"),
    "sfo": Place("San Francisco", "us-west-1"),
    "sin": Place("Singapore", "ap-southeast-1"),
    "syd": Place("Sydney", "ap-southeast-2"),
}
REGIONS: tuple[Region, ...] = tuple(PLACES)
SECTORS: tuple[Sector, ...] = get_args(Sector)
STATUSES: tuple[Status, ...] = get_args(Status)
