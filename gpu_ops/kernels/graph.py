"""The graph of nearest neighbours, seen from those that are near.

Legend: n rows, k neighbours of each, e edges, m chosen ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpu_ops.kernels.neighbours import top_k
from operators.kernels.jit import kernel

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.floating[Any]]

PAIRS = 2048  # rows at once of the graph of all pairs


@dataclass(frozen=True)
class Voters:
    """Who has whom among the nearest: voter[start[u] : start[u + 1]] are the rows that have u, ascending.

    start: (n + 1,). voter: (e,). value: (e,) cosines. first: (n,) which row has u first of all, and how far
    up in its list u is, as one number: the order in which the rows are come upon where one row after the
    other names its neighbours, the farthest first; those whom nobody names come last.
    """

    start: Int64s
    voter: Int32s
    value: Float32s
    first: Int64s

    def __len__(self) -> int:
        return len(self.first)

    @property
    def edges(self) -> tuple[Int64s, Int32s, Float32s]:
        """start, voter and value, as kernels take them."""
        return self.start, self.voter, self.value

    @property
    def counts(self) -> Int64s:
        """(n,) how many have each row among their nearest."""
        return np.diff(self.start)


def voters(x: Vectors, neighbours: int, device: str = "cpu", own: bool = False) -> Voters:
    """The graph of the nearest neighbours of every row of x (n, d) by cosine, itself not among them.

    own: adds an edge of 1 from each row to itself, and leaves out cosines of 0 and below. Memory: 16 bytes
    for each of n x k neighbours while they are looked for, 8 for each edge afterwards.
    """
    n = len(x)
    found = top_k(x, x, max(1, min(neighbours, n - 1)), own=np.arange(n), device=device)
    index, value = found.index.astype(np.int32), found.value.astype(np.float32)
    if own:
        index[~(value > 0)] = -1
    return _turned(index, value, own)


def all_pairs(x: Vectors) -> Voters:
    """The graph of all pairs with a cosine above 0, each row with itself by 1: 8 bytes for each of n x n."""
    units = x.astype(np.float64)
    length = np.linalg.norm(units, axis=1, keepdims=True)
    units /= np.where(length > 0, length, 1)
    start, voter, value = np.zeros(len(x) + 1, np.int64), [], []
    for row in range(0, len(x), PAIRS):
        cosine = np.minimum(units[row : row + PAIRS] @ units.T, 1).astype(np.float32)
        cosine[np.arange(len(cosine)), row + np.arange(len(cosine))] = 1
        near, other = np.nonzero(cosine > 0)
        start[row + 1 : row + 1 + len(cosine)] = np.bincount(near, minlength=len(cosine))
        voter.append(other.astype(np.int32))
        value.append(cosine[near, other])
    none: tuple[Any, Any] = (np.zeros(0, np.int32), np.zeros(0, np.float32))
    return Voters(
        np.cumsum(start),
        np.concatenate([none[0], *voter]),
        np.concatenate([none[1], *value]),
        np.arange(len(x)),
    )


def nearest_chosen(graph: Voters, chosen: Int64s, rows: npt.NDArray[np.bool_]) -> Float64s:
    """(m,) how many of these rows (n,) have each chosen one as the nearest of the chosen among their
    neighbours; a chosen row has itself. Rows that have none are nobody's."""
    best, place = np.full(len(graph), -2.0), np.full(len(graph), -1)
    for at, u in enumerate(chosen):
        edges = slice(graph.start[u], graph.start[u + 1])
        voter, value = graph.voter[edges], graph.value[edges]
        nearer = voter[value > best[voter]]
        place[nearer], best[nearer] = at, value[value > best[voter]]
    place[chosen] = np.arange(len(chosen))
    have = place[rows & (place >= 0)]
    return np.bincount(have, minlength=len(chosen)).astype(np.float64)


def _turned(index: Int32s, value: Float32s, own: bool) -> Voters:
    """From neighbours (n, k), -1 for none, to who has whom."""
    n = len(index)
    counts = np.bincount(index[index >= 0], minlength=n) + own
    start = np.concatenate(([0], np.cumsum(counts)))
    voter, near = np.empty(start[-1], np.int32), np.empty(start[-1], np.float32)
    first = np.full(n, np.iinfo(np.int64).max)
    _turn(index, value, own, start[:-1].copy(), voter, near, first)
    return Voters(start, voter, near, first)


@kernel
def _turn(index: Any, value: Any, own: bool, free: Any, voter: Any, near: Any, first: Any) -> None:
    """Fills voter, near (e,) and first (n,). free: (n,) where the next voter of each row goes."""
    n, k = index.shape
    for v in range(n):
        if own:
            voter[free[v]], near[free[v]] = v, 1.0
            free[v] += 1
        for j in range(k):
            u = index[v, j]
            if u >= 0:
                voter[free[u]], near[free[u]] = v, value[v, j]
                free[u] += 1
                first[u] = min(first[u], v * k + k - 1 - j)
