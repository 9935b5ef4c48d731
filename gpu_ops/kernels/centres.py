"""The centres of k-means: how they start, and what they move by, exactly.

Legend: m vectors, k centres, d numbers in each, all on one of the grids of `grids`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpu_ops.kernels.cosine import Tiles
from gpu_ops.kernels.greedy import k_means_plus_plus, swapped
from gpu_ops.kernels.grids import UNIT, WEIGHT_BITS, Cells, Float64s, Grid, Int64s
from gpu_ops.kernels.unit_grid import lengths_of

UInt64s = npt.NDArray[np.uint64]

STEPS = 1024  # draws at most: with more centres than that, several are drawn at once
# As many draws as Arthur & Vassilvitskii's code and scikit-learn make, times this: of 60 starts on 20 planted
# clusters 25 miss one with 1, none with 3.
TRIES = 3


def spread_out(
    cells: Cells, luck: UInt64s, k: int, on: Tiles, grid: Grid = UNIT, weight: Int64s | None = None
) -> Cells:
    """Up to k of the distinct vectors, far from each other, by greedy k-means++ and local search.

    luck: (m,) a random number for each vector. weight: (m,) positive; equal vectors count together. With
    k > 1024 several stay of each step, and there is no local search (`swapped`).
    Fewer than k where not so many are distinct.
    """
    cells, luck, mass = _distinct(cells, luck, weight)
    if len(cells) <= k:
        return cells
    each, trials = -(-k // STEPS), TRIES * (2 + int(np.log(k)))
    points, tries = _OnGrid(cells, on, grid), max(each, trials)
    picks = k_means_plus_plus(points, k, luck, weight=mass, candidates=tries, at_once=each).index
    if k <= STEPS:
        picks = swapped(points, picks, -(-k // 4), luck, weight=mass, candidates=tries)
    return cells[picks]


class _OnGrid:
    """Vectors on a grid as points for the greedy engine; exact, so the same on any device."""

    def __init__(self, cells: Cells, on: Tiles, grid: Grid) -> None:
        self.cells, self.on, self.grid = cells, on, grid
        self.everyone, (self.scale, self.shift) = on.put(cells.astype(np.float64)), grid.scoring(cells)

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def square_norms(self) -> Float64s:
        return lengths_of(self.cells) ** 2

    def distances_to(self, index: Int64s) -> Float64s:
        products = self.on.products(self.everyone, self.on.put(self.cells[index]))
        theirs = (self.scale[index], None if self.shift is None else self.shift[index])
        return self.grid.apart(products, (self.scale, self.shift), theirs)


def _distinct(cells: Cells, luck: UInt64s, weight: Int64s | None) -> tuple[Cells, UInt64s, Float64s]:
    """The different vectors by the least luck of their copies, that luck, and the copies' weight."""
    order = np.argsort(luck, kind="stable")
    _, first, copies = np.unique(cells[order], axis=0, return_index=True, return_inverse=True)
    mass = np.bincount(copies.reshape(-1), None if weight is None else weight[order], len(first))
    by_luck = np.argsort(first)
    chosen = order[first[by_luck]]
    return cells[chosen], luck[chosen], mass[by_luck].astype(np.float64)


def sums(cells: Cells, label: Int64s, k: int, weight: Int64s | None = None) -> Int64s:
    """(k, d) int64: the sum of each label's vectors, each times its weight."""
    total = np.zeros((k, cells.shape[1]), np.int64)
    if len(label):
        order = np.argsort(label, kind="stable")
        starts = np.flatnonzero(np.diff(label[order], prepend=-1))
        terms = cells[order] if weight is None else cells[order] * weight[order, None]
        total[label[order[starts]]] = np.add.reduceat(terms, starts, axis=0, dtype=np.int64)
    return total


def masses(label: Int64s, k: int, weight: Int64s | None = None) -> Int64s:
    """(k,) int64: the sum of each label's weights, or how many have it."""
    total = np.zeros(k, np.int64)
    np.add.at(total, label, 1 if weight is None else weight)
    return total


def whole_weights(weight: Float64s, heaviest: float) -> Int64s:
    """(m,) weights as integers of 16 bits, on a scale that is a power of two; `heaviest` is over 0."""
    return np.rint(np.ldexp(weight, WEIGHT_BITS - int(np.frexp(heaviest)[1]))).astype(np.int64)
