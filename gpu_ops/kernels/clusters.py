"""k-means over the rows of one job, by exact integers: the same on any device and with any number of threads.

Legend: n rows, k clusters, d numbers in a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpu_ops.kernels.centres import masses, spread_out, sums, whole_weights
from gpu_ops.kernels.cosine import nearest, tiles
from gpu_ops.kernels.grids import LARGEST, BoxGrid, Cells
from operators.kernels.counter import UInt64s, random_bits

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

ROUNDS = 20  # from there on the sum of squares falls by less than 0.1 % (embeddings of short texts)
_BLOCK = 16_384  # rows at once: what is made of them beside the cells
_STREAM = 0x636C757374657273  # keeps apart from other draws that share a seed


@dataclass(frozen=True)
class Clusters:
    """label: (n,) the nearest centre of each row. distance: (n,) to it. k: centres, some maybe of nobody."""

    label: Int64s
    distance: Float64s
    k: int

    @property
    def sizes(self) -> Int64s:
        """(k,) rows of each."""
        return masses(self.label, self.k)

    def nearest_rows(self) -> tuple[Int64s, Int64s]:
        """(m,) of each cluster with rows the one nearest to its centre (of equals the first), and the
        cluster, by number."""
        order = np.lexsort([np.arange(len(self.label)), self.distance, self.label])
        clusters, first = np.unique(self.label[order], return_index=True)
        return order[first], clusters

    def representatives(self, k: int) -> tuple[Int64s, Float64s]:
        """(k,) the rows nearest to the centres, those of the largest clusters first, and how many rows each
        has; where there are fewer clusters, then the rows that are farthest from their centre, with 1."""
        rows, clusters = self.nearest_rows()
        sizes = self.sizes[clusters]
        order = np.argsort(-sizes, kind="stable")[:k]
        rest = np.lexsort([np.arange(len(self.label)), -self.distance])
        rest = rest[~np.isin(rest, rows[order])][: k - len(order)]
        chosen = np.concatenate([rows[order], rest])
        return chosen, np.concatenate([sizes[order], np.ones(len(rest))]).astype(np.float64)


def clustered(
    x: Float32s, k: int, key: UInt64s, seed: int, weight: Float64s | None = None, rounds: int = ROUNDS
) -> Clusters:
    """Lloyd's k-means: rows x (n, d) with numbers below 1e18, Euclidean distance, at most k clusters.

    key: (n,) whose luck is whose. weight: (n,) >= 0, how much a row pulls its centre: 16 bits of the
    largest; where all are 0 they are alike. First centres by greedy k-means++ and swaps (`spread_out`) from
    max(8192, 4 k) random rows with a weight; then rounds, until no centre moves. As in `kmeans`, numbers are
    rounded to about 2**-21 of the longest side of the box around all, so that sums are exact. Numbers beyond
    1e15 count as 1e15. Costs 2 n k d operations a round; 4 bytes for each number of x.
    """
    if not len(x):
        return Clusters(np.zeros(0, np.int64), np.zeros(0), 0)
    cells, grid = _on_grid(x)
    heaviest = 0.0 if weight is None else float(weight.max())
    whole = whole_weights(weight, heaviest) if weight is not None and heaviest else None
    luck = random_bits(seed ^ _STREAM, key)
    pulling = np.arange(len(x)) if whole is None else np.flatnonzero(whole)
    some = pulling[np.lexsort([pulling, luck[pulling]])[: max(8192, 4 * k)]]
    on, mass = tiles(), None if whole is None else whole[some]
    centres = spread_out(cells[some], luck[some], k, on, grid, mass)
    label, distance = nearest(cells, centres, on, grid)
    for _ in range(rounds):
        now = grid.middles(*_totals(cells, label, len(centres), whole, grid.largest), centres)
        if np.array_equal(now, centres):
            break
        centres = now
        label, distance = nearest(cells, centres, on, grid)
    return Clusters(label, distance, len(centres))


def _on_grid(x: Float32s) -> tuple[Cells, BoxGrid]:
    """(n, d) int32, and what they mean."""
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(x), _BLOCK)]
    ends = [(np.min(x[rows], axis=0), np.max(x[rows], axis=0)) for rows in blocks]
    low = np.min([end[0] for end in ends], axis=0).astype(np.float64)
    high = np.max([end[1] for end in ends], axis=0).astype(np.float64)
    grid = BoxGrid.around(np.maximum(low, -LARGEST), np.minimum(high, LARGEST))
    cells = np.empty(x.shape, np.int32)
    for rows in blocks:
        inside = np.clip(x[rows].astype(np.float64), -LARGEST, LARGEST) - grid.offset
        cells[rows] = np.rint(np.ldexp(inside, grid.exponent))
    return cells, grid


def _totals(
    cells: Cells, label: Int64s, k: int, weight: Int64s | None, largest: int
) -> tuple[Int64s, Int64s]:
    """The sums (k, d) and masses (k,) of the clusters."""
    total, mass = np.zeros((k, cells.shape[1]), np.int64), masses(label, k, weight)
    if int(mass.max()) > (2**63 - 1) // largest:
        raise ValueError("a cluster weighs too much for exact sums: ask for more clusters")
    for start in range(0, len(cells), _BLOCK):
        rows = slice(start, start + _BLOCK)
        total += sums(cells[rows], label[rows], k, None if weight is None else weight[rows])
    return total, mass
