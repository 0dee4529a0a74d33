"""Arithmetic on sets of numbers as sorted ranges: a ledger of millions of numbered writes is a few thousand pairs.

A set is a list of (first, last), both included, sorted, disjoint and not touching. Every function returns a set in time
linear in the number of ranges; `normalise`, which makes a set of any ranges, sorts them first.
"""

from __future__ import annotations

from collections.abc import Iterable

Ranges = list[tuple[int, int]]


def normalise(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Any ranges, in any order, overlapping or not, as a set. ValueError for one that ends before it begins."""
    result: Ranges = []
    for first, last in sorted(ranges):
        if last < first:
            raise ValueError(f"expected first <= last in a range, found {first}..{last}")
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], last))
        else:
            result.append((first, last))
    return result


def minus(left: Ranges, right: Ranges) -> Ranges:
    """The numbers of `left` that are not in `right`; both are sets."""
    result: Ranges = []
    index = 0
    for first, last in left:
        while index < len(right) and right[index][1] < first:
            index += 1
        position, cut = first, index
        while cut < len(right) and right[cut][0] <= last:
            if right[cut][0] > position:
                result.append((position, right[cut][0] - 1))
            position = right[cut][1] + 1
            cut += 1
        if position <= last:
            result.append((position, last))
    return result


def union(left: Ranges, right: Ranges) -> Ranges:
    """The numbers of either; both may be any ranges."""
    return normalise([*left, *right])


def intersection(left: Ranges, right: Ranges) -> Ranges:
    """The numbers that are in both; both are sets."""
    return minus(left, minus(left, right))


def count(ranges: Ranges) -> int:
    """How many numbers are in the set."""
    return sum(last - first + 1 for first, last in ranges)
