"""The centres of spherical k-means: how they start and how they move, exactly.

Legend: m vectors, k centres, d numbers in each, all on the grid of `unit_grid`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gpu_ops.kernels.cosine import Tiles
from gpu_ops.kernels.unit_grid import Float64s, Int16s, Int64s, lengths_of, to_grid
from operators.kernels.counter import uniform

UInt64s = npt.NDArray[np.uint64]

STEPS = 1024  # draws at most: with more centres than that, several are drawn at once


def spread_out(cells: Int16s, luck: UInt64s, k: int, on: Tiles) -> Int16s:
    """Up to k of the distinct vectors, far from each other: greedy k-means++ (Arthur & Vassilvitskii 2007).

    luck: (m,) a random number for each vector. The first centre has the least. For each next one some
    2 + ln k vectors are drawn in proportion to their squared distance from the centres so far, by
    exponential clocks (Efraimidis & Spirakis 2006), and the one stays that leaves the least distance
    to all vectors. With k > 1024 several stay at once. Fewer than k where not so many are distinct.
    """
    order = np.argsort(luck, kind="stable")
    _, first = np.unique(cells[order], axis=0, return_index=True)
    chosen = order[np.sort(first)]
    cells, luck = cells[chosen], luck[chosen]
    if len(cells) <= k:
        return cells
    everyone, scale = on.put(cells.astype(np.float64)), 1 / lengths_of(cells)
    each, trials = -(-k // STEPS), 2 + int(np.log(k))
    picks, taken = [np.zeros(1, np.int64)], np.zeros(len(cells), bool)
    taken[0] = True
    farness = _farness(cells[:1], everyone, scale, scale[:1], on)[:, 0]
    while (have := sum(map(len, picks))) < k:
        drawn = _draw(np.where(taken, 0, farness), uniform(len(picks), luck), max(each, trials))
        left = np.minimum(farness[:, None], _farness(cells[drawn], everyone, scale, scale[drawn], on))
        new = drawn[np.argsort(left.sum(axis=0), kind="stable")[: min(each, k - have)]]
        farness = left[:, np.isin(drawn, new)].min(axis=1)
        taken[new] = True
        picks.append(new)
    return cells[np.concatenate(picks)]


def _farness(centres: Int16s, everyone: Any, scale: Float64s, own: Float64s, on: Tiles) -> Float64s:
    """(m, c) half the squared distance of unit vectors, 1 - cosine; never 0, for all are distinct."""
    return np.maximum(1 - on.products(everyone, on.put(centres)) * own * scale[:, None], 1e-12)


def _draw(weight: Float64s, number: Float64s, count: int) -> Int64s:
    """At most `count` different places, drawn in proportion to their weights."""
    clock = np.full(len(weight), np.inf)
    np.divide(-np.log(number), weight, out=clock, where=weight > 0)
    return np.argsort(clock, kind="stable")[: min(count, np.count_nonzero(weight))]


def sums(cells: Int16s, label: Int64s, k: int) -> Int64s:
    """(k, d) int64: the sum of each label's vectors."""
    total = np.zeros((k, cells.shape[1]), np.int64)
    if len(label):
        order = np.argsort(label, kind="stable")
        starts = np.flatnonzero(np.diff(label[order], prepend=-1))
        total[label[order[starts]]] = np.add.reduceat(cells[order], starts, axis=0, dtype=np.int64)
    return total


def moved(total: Int64s, centres: Int16s) -> Int16s:
    """(k, d) the direction of each sum; a centre whose sum has none (nobody is nearest) stays."""
    there, usable = to_grid(total.astype(np.float64))
    return np.where(usable[:, None], there, centres)
