"""Greedy choice of points that are far from each other, in O(n k d): k-center and k-means++.

Legend: n points, m chosen ones, c candidates of one step, d numbers in a point.

The distances are squared Euclidean ones, float64. Only (n,) and (n, c) arrays are held beside the points,
which are read in blocks: from memory, a memory-mapped file or a device, by the same code. Of a file 64 MiB
are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gpu_ops.kernels.mapped import HELD, let_go
from operators.kernels.counter import uniform

Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]

# Rows at once: what a core's cache holds of float64, and what keeps a device busy.
BLOCK, DEVICE_BLOCK = 1024, 65_536
COLUMNS = 64  # distances of so many points at once
# |a|^2 + |b|^2 - 2ab is off by about d * 2**-53 of its terms; what is below this share of them is 0.
_SAME = 1e-12
_STRIDE = 0x9E3779B97F4A7C15  # between the seeds of two steps: those of neighbouring seeds must differ


class Points(Protocol):
    """What can be chosen from."""

    def __len__(self) -> int: ...

    @property
    def square_norms(self) -> Float64s:
        """(n,) squared lengths."""

    def distances_to(self, index: Int64s) -> Float64s:
        """(n, c) squared distances from the c points of that index; copies have 0."""


class Dense:
    """The rows of x (n, d): a numpy array or memmap of floats, or a torch tensor where it lies.

    On the CPU a step reads x once: 10 ms for 100,000 x 384 float32 on one core."""

    def __init__(self, x: Any) -> None:
        self.x = x
        self.square_norms: Float64s = _square_norms(x)

    def __len__(self) -> int:
        return len(self.x)

    def distances_to(self, index: Int64s) -> Float64s:
        out = np.empty((len(self), len(index)))
        for rows, products in _products(self.x, index):
            out[rows] = _expanded(products, self.square_norms[rows], self.square_norms[index])
        return out

    def nearest_to_mean(self) -> int:
        """The point nearest to the mean of all, n > 0; of equals the lowest index."""
        mean = sum(part.sum(0) for _, part in _blocks(self.x)) / len(self)
        far = self.square_norms.copy()
        for rows, part in _blocks(self.x):
            far[rows] -= 2 * _numpy(part @ mean)
        return int(far.argmin())

    def cosines_to(self, index: Int64s) -> Float64s:
        """(n, c) cosines with the c points of that index, 0 with a point of length 0."""
        length = np.sqrt(self.square_norms)
        with np.errstate(divide="ignore"):
            shorten = np.where(length > 0, 1 / length, 0.0)
        out = np.empty((len(self), len(index)))
        for rows, products in _products(self.x, index):
            out[rows] = products * shorten[rows, None] * shorten[index]
        return np.clip(out, -1, 1, out=out)


class Factored:
    """The outer products of p (n, C) and h (n, D), such as gradients of a last layer (BADGE, Ash et al.
    2020), by |p_i|^2 |h_i|^2 + |p_j|^2 |h_j|^2 - 2 (p_i.p_j)(h_i.h_j), without their n x CD numbers.
    Arrays as in `Dense`."""

    def __init__(self, p: Any, h: Any) -> None:
        if len(p) != len(h):
            raise ValueError(f"p has {len(p)} rows, h {len(h)}: they are factors of the same points")
        self.p, self.h = p, h
        self.square_norms: Float64s = _square_norms(p) * _square_norms(h)

    def __len__(self) -> int:
        return len(self.p)

    def distances_to(self, index: Int64s) -> Float64s:
        out = np.empty((len(self), len(index)))
        for (rows, one), (_, other) in zip(_products(self.p, index), _products(self.h, index), strict=True):
            out[rows] = _expanded(one * other, self.square_norms[rows], self.square_norms[index])
        return out


@dataclass(frozen=True)
class Chosen:
    """index: (m,) the chosen points, in the order in which they were. distance: (n,) the squared distance of
    every point from the nearest chosen one (or one chosen before). place: (n,) which of the chosen is the
    nearest, of equals the first; -1: one chosen before. Only `k_center` tells it."""

    index: Int64s
    distance: Float64s
    place: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))


def distances_from(points: Points, chosen: Sequence[int] | Int64s) -> Float64s:
    """(n,) from the nearest of the chosen points, infinite where there is none: what a further choice
    starts with."""
    distance = np.full(len(points), np.inf)
    some = np.asarray(chosen, np.int64)
    for part in np.split(some, range(_at_once(points), len(some), _at_once(points))):
        if len(part):
            np.minimum(distance, points.distances_to(part).min(axis=1), out=distance)
    return distance


def stand_for(points: Points, chosen: Int64s, rows: npt.NDArray[np.bool_]) -> Float64s:
    """(m,) of how many of these rows (n,) each chosen point is the nearest one; of equals the first."""
    place, best = np.zeros(len(points), np.int64), np.full(len(points), np.inf)
    step = _at_once(points)
    for start in range(0, len(chosen), step):
        far = points.distances_to(chosen[start : start + step])
        for i in range(far.shape[1]):
            nearer = far[:, i] < best
            place[nearer], best[nearer] = start + i, far[nearer, i]
    return np.bincount(place[rows], minlength=len(chosen)).astype(np.float64)


def _at_once(points: Points) -> int:
    """To how many points all distances are held at once: 128 MiB."""
    return max(1, min(COLUMNS, 2**24 // max(len(points), 1)))


def k_center(
    points: Points,
    k: int,
    first: int = 0,
    distance: Float64s | None = None,
    weight: Float64s | None = None,
) -> Chosen:
    """Up to k points, each the farthest from those before (Gonzalez 1985): their largest distance is at most
    twice that of the best k. Of equals the lowest index.

    distance: (n,) from what was chosen before; without any, `first` comes first. weight: (n,) >= 0,
    multiplies the squared distance. Fewer than k where all other points are copies of chosen ones.
    """
    _check(points, k, weight, distance, first)
    heavy: Float64s | float = 1.0 if weight is None else weight
    index: list[int] = []
    if distance is None and k and len(points):
        index, distance = [first], distances_from(points, [first])
    place = np.full(len(points), len(index) - 1)
    distance = np.zeros(0) if distance is None else distance.copy()
    while len(index) < min(k, len(points)):
        far = heavy * distance
        one = int(far.argmax())
        if not far[one] > 0:
            break
        index.append(one)
        new = points.distances_to(np.array([one]))[:, 0]
        place[new < distance] = len(index) - 1
        np.minimum(distance, new, out=distance)
    return Chosen(np.array(index, np.int64), distance, place)


def k_means_plus_plus(
    points: Points,
    k: int,
    key: UInt64s,
    seed: int = 0,
    first: int | None = None,
    distance: Float64s | None = None,
    weight: Float64s | None = None,
    candidates: int = 1,
    at_once: int = 1,
) -> Chosen:
    """Up to k points, each drawn in proportion to weight * squared distance from those before (Arthur &
    Vassilvitskii 2007).

    key: (n,) whose draw is whose: by exponential clocks (Efraimidis & Spirakis 2006), functions of
    (seed, step, key), so that the order of the points does not matter. The first is `first`, or drawn by
    weight alone; with `distance` (n,), from what was chosen before, it is drawn as the others are. Of so
    many `candidates` in each step the `at_once` stay that leave the least sum of weighted distances.
    Fewer than k where all other points of positive weight are copies of chosen ones.
    """
    _check(points, k, weight, distance, first or 0)
    heavy = np.ones(len(points)) if weight is None else weight
    free = heavy > 0
    picks: list[Int64s] = []
    if distance is None and k and len(points):
        picks = [_draw(heavy, uniform(seed, key), 1) if first is None else np.array([first])]
        distance = distances_from(points, picks[0])
        free[picks[0]] = False
    distance = np.zeros(0) if distance is None else distance.copy()
    step, have = 0, sum(map(len, picks))
    while have < min(k, len(points)):
        step += 1
        drawn = _draw(np.where(free, heavy * distance, 0), uniform(seed + step * _STRIDE, key), candidates)
        if not len(drawn):
            break
        left = np.minimum(distance[:, None], points.distances_to(drawn))
        sums = (heavy[:, None] * left).sum(axis=0)  # BLAS would add in an order that depends on its threads
        best = np.argsort(sums, kind="stable")[: min(at_once, k - have)]
        distance = left[:, best].min(axis=1)
        picks.append(drawn[best])
        free[picks[-1]] = False
        have += len(best)
    return Chosen(np.concatenate([np.zeros(0, np.int64), *picks]), distance)


def swapped(
    points: Points,
    chosen: Int64s,
    steps: int,
    key: UInt64s,
    seed: int = 0,
    weight: Float64s | None = None,
    candidates: int = 1,
) -> Int64s:
    """(m,) the chosen points after so many steps of local search (Lattanzi & Sohler 2019).

    In each step some `candidates` are drawn as in `k_means_plus_plus`, and of all swaps of one of them with a
    chosen point that one is made by which the sum of weighted distances falls the most, if it falls.
    """
    heavy = np.ones(len(points)) if weight is None else weight
    near = _TwoNearest(points, chosen)
    for step in range(1, steps + 1 if len(chosen) > 1 else 1):
        first, second = near.distance
        drawn = _draw(heavy * first, uniform(seed - step * _STRIDE, key), candidates)
        if not len(drawn):
            break
        far = points.distances_to(drawn)
        with_it = heavy[:, None] * np.minimum(first[:, None], far)
        without = heavy[:, None] * np.minimum(second[:, None], far) - with_it
        lost = [np.bincount(near.place[0], without[:, i], len(chosen)) for i in range(len(drawn))]
        sums = with_it.sum(axis=0) + np.min(lost, axis=1)
        best = int(sums.argmin())
        if sums[best] < (heavy * first).sum():
            near.swap(int(lost[best].argmin()), int(drawn[best]), far[:, best])
    return near.chosen


class _TwoNearest:
    """The chosen points (m,), and for every point the two nearest of them: (2, n) places and distances."""

    def __init__(self, points: Points, chosen: Int64s) -> None:
        self.points, self.chosen = points, chosen.copy()
        self.place = np.zeros((2, len(points)), np.int64)
        self.distance = np.full((2, len(points)), np.inf)
        for start in range(0, len(chosen), COLUMNS):
            far = points.distances_to(chosen[start : start + COLUMNS])
            for i in range(far.shape[1]):
                self._insert(start + i, far[:, i])

    def swap(self, place: int, one: int, far: Float64s) -> None:
        """The point `one`, with its distances (n,), comes in at this place."""
        lost = np.flatnonzero((self.place == place).any(axis=0))
        self.chosen[place] = one
        self._insert(place, far)
        for start in range(0, len(lost), COLUMNS):
            some = lost[start : start + COLUMNS]
            every = self.points.distances_to(some)[self.chosen]
            self.place[:, some] = np.argsort(every, axis=0, kind="stable")[:2]
            self.distance[:, some] = np.take_along_axis(every, self.place[:, some], axis=0)

    def _insert(self, place: int, far: Float64s) -> None:
        first, second = self.distance
        nearest = far < first
        next_one = ~nearest & (far < second)
        self.place[1] = np.where(nearest, self.place[0], np.where(next_one, place, self.place[1]))
        self.distance[1] = np.where(nearest, first, np.where(next_one, far, second))
        self.place[0][nearest], self.distance[0][nearest] = place, far[nearest]


def _draw(weight: Float64s, number: Float64s, count: int) -> Int64s:
    """At most `count` different places, drawn in proportion to their weights; the earliest clock first."""
    some = np.flatnonzero(weight > 0)
    clock = -np.log(number[some]) / weight[some]
    if len(some) > count:
        least = np.argpartition(clock, count - 1)[:count]
        some, clock = some[np.sort(least)], clock[np.sort(least)]
    return some[np.argsort(clock, kind="stable")]


def _check(points: Points, k: int, weight: Float64s | None, distance: Float64s | None, first: int) -> None:
    n = len(points)
    if k < 0:
        raise ValueError(f"k is {k}; it must be at least 0")
    if n and not 0 <= first < n:
        raise ValueError(f"the first point is {first}, but there are {n:,}")
    for name, values in (("weights", weight), ("distances", distance)):
        if values is not None and (values.shape != (n,) or not (values >= 0).all()):
            raise ValueError(f"{name} must be {n:,} numbers of at least 0, one for each point")


def _expanded(products: Float64s, own: Float64s, theirs: Float64s) -> Float64s:
    """(b, c) squared distances from products (b, c) and squared norms (b,), (c,)."""
    both = own[:, None] + theirs
    found = both - 2 * products
    return np.where(found > _SAME * both, found, 0.0)


def _square_norms(x: Any) -> Float64s:
    out = np.empty(len(x))
    for rows, part in _blocks(x):
        out[rows] = _numpy((part * part).sum(1))
    return out


def _products(x: Any, index: Int64s) -> Iterator[tuple[slice, Float64s]]:
    """Block for block, which rows and their (b, c) products with the rows `index`."""
    chosen = _float64(x[index.tolist()]).T
    for rows, part in _blocks(x):
        yield rows, _numpy(part @ chosen)


def _blocks(x: Any) -> Iterator[tuple[slice, Any]]:
    size, read = BLOCK if isinstance(x, np.ndarray) else DEVICE_BLOCK, 0
    for start in range(0, len(x), size):
        part = x[start : start + size]
        yield slice(start, start + size), _float64(part)
        read += part.nbytes
        if read > HELD:
            let_go(x)
            read = 0
    let_go(x)


def _float64(part: Any) -> Any:
    return np.asarray(part, np.float64) if isinstance(part, np.ndarray) else part.double()


def _numpy(part: Any) -> Float64s:
    return part if isinstance(part, np.ndarray) else part.cpu().numpy()
