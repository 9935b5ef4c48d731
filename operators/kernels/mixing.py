"""A budget shared among groups by weight, none of which gets more than it has.

Legend: G groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from operators.kernels.grouping import Names, by_name, show_name

Int64s = npt.NDArray[np.int64]


def fill(budget: int, sizes: Sequence[int] | Int64s, weights: Sequence[Fraction]) -> Int64s:
    """(G,) integers in proportion to the weights, each at most its size; what a group cannot use goes to the
    others, in proportion (water filling), and fractions by largest remainders, of equals to the first.

    They add up to the budget, or to the sizes of the groups with a weight where those are less. Exact."""
    parts = np.zeros(len(sizes), np.int64)
    some = [i for i in range(len(sizes)) if weights[i] > 0 and sizes[i] > 0]
    some.sort(key=lambda i: (Fraction(int(sizes[i])) / weights[i], i))
    left, weight = Fraction(budget), sum((weights[i] for i in some), Fraction(0))
    while some and int(sizes[some[0]]) * weight <= left * weights[some[0]]:
        first = some.pop(0)
        parts[first] = sizes[first]
        left, weight = left - int(sizes[first]), weight - weights[first]
    if not some:
        return parts
    exact = {i: left * weights[i] / weight for i in some}
    for i in some:
        parts[i] = int(exact[i])
    rest = int(left) - int(sum(int(parts[i]) for i in some))
    for i in sorted(some, key=lambda i: (int(exact[i]) - exact[i], i))[:rest]:
        parts[i] += 1
    return parts


def tempered(sizes: Int64s, temperature: float) -> list[Fraction]:
    """(G,) sizes to the power of 1 / temperature: natural shares at 1, near equal ones far above."""
    if temperature == 1:
        return [Fraction(int(n)) for n in sizes]
    most = float(max(sizes.max(initial=0), 1))
    return [Fraction((int(n) / most) ** (1 / temperature)) if n else Fraction(0) for n in sizes]


def named(names: Names, shares: Mapping[str | int, float], column: str) -> list[Fraction]:
    """(G,) the weight of each group by its name, '*' that of each other one. ValueError for one without."""
    found, lost = by_name(names, shares)
    if lost:
        raise ValueError(
            f"{len(lost)} values of {column} have no share, the first is {show_name(lost[0])}; "
            "add them, or '*' for all others"
        )
    return [Fraction(repr(float(share))) for share in found]


def mixed(
    budget: int,
    sizes: Int64s,
    names: Names,
    temperature: float | None,
    shares: Mapping[str | int, float] | None,
    column: str,
) -> Int64s:
    """(G,) the groups' parts of the budget, by the shares given, or by the temperature."""
    weights = named(names, shares, column) if shares is not None else tempered(sizes, temperature or 1.0)
    return fill(budget, sizes, weights)
