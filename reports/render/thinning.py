"""Long series for small pictures: hours of seconds are more than a picture has pixels, and a page has room for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def grouped(values: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """The values in groups of neighbours, as equal as can be, at most `most` of them; none is empty or left out."""
    count = min(most, len(values))
    for number in range(count):
        yield values[len(values) * number // count : len(values) * (number + 1) // count]
