"""Greedy choices whose gains only fall, on the graph of nearest neighbours.

Legend: n rows, e edges, c candidates, m chosen ones. In all kernels

edges: start (n + 1,), voter (e,), value (e,): see `graph.Voters`.
state: level (n,) is what the vote of each row is worth (votes), or the cosine with the nearest chosen one
    (covering); times (n,) is how many chosen ones each row has voted for; worth is what a vote is worth after
    0, 1, 2... of them; votes is whether votes are counted, or covering.
rank: (n,) who comes first of those with equal gains: the least.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpu_ops.kernels.graph import Voters
from operators.kernels.counter import UInt64s, mix64, uniform
from operators.kernels.jit import kernel, part

Bools = npt.NDArray[np.bool_]
Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

_STRIDE = 0x9E3779B97F4A7C15  # between the seeds of two steps


@dataclass(frozen=True)
class State:
    """See the module. Methods change the arrays."""

    graph: Voters
    rank: Int64s
    level: Float64s
    times: Int64s
    worth: Float64s
    votes: bool

    @classmethod
    def of_votes(cls, graph: Voters, rank: Int64s, rho: float, taken: Bools) -> State:
        """The votes of rows that are not chosen count, rho^-t where t chosen ones have them."""
        worth = np.array([max(float(rho) ** -t, 1e-300) for t in range(1000)])
        state = cls(graph, rank, np.where(taken, 0.0, 1.0), np.zeros(len(graph), np.int64), worth, True)
        _all_taken(np.flatnonzero(taken), graph.edges, state._arrays)
        return state

    @classmethod
    def of_covering(cls, graph: Voters, taken: Bools) -> State:
        """What counts is by how much each row's cosine with the nearest chosen one grows, from 0."""
        n = len(graph)
        state = cls(graph, np.arange(n), np.zeros(n), np.zeros(n, np.int64), np.ones(1), False)
        _all_taken(np.flatnonzero(taken), graph.edges, state._arrays)
        return state

    @property
    def _arrays(self) -> tuple[Any, ...]:
        return self.level, self.times, self.worth, self.votes

    def lazily(self, candidates: Int64s, k: int) -> Int64s:
        """(m,) up to k of the candidates (c,), each the one with the greatest gain, by looking again only at
        what is on top (Minoux 1978)."""
        chosen = np.zeros(min(k, len(candidates)), np.int64)
        bound = np.zeros(len(self.graph))
        _lazily(self.graph.edges, self._arrays, self.rank, candidates.copy(), bound, chosen)
        return chosen

    def sampled(self, candidates: Int64s, k: int, share: float, key: UInt64s, seed: int) -> Int64s:
        """(m,) up to k of the candidates, each the best of a sample of so large a share of all candidates,
        drawn with repetition ("lazier than lazy", Mirzasoleiman et al. 2015).

        key: (n,) puts the candidates into an order by (seed, key); draws are by (seed, step, place in it)."""
        rest = candidates[np.lexsort((candidates, mix64(key[candidates] ^ np.uint64(seed & (1 << 64) - 1))))]
        draws = np.arange(max(1, int(np.ceil(share * len(candidates)))), dtype=np.uint64)
        chosen = np.zeros(min(k, len(candidates)), np.int64)
        size = len(rest)
        for step in range(len(chosen)):
            at = (uniform(seed + (step + 1) * _STRIDE, draws) * size).astype(np.int64)
            place = int(at[_best_of(rest[at], self.graph.edges, self._arrays, self.rank)])
            chosen[step] = rest[place]
            _all_taken(chosen[step : step + 1], self.graph.edges, self._arrays)
            size -= 1
            rest[place] = rest[size]
        return chosen

    def best(self, candidates: Int64s) -> int:
        """The candidate with the greatest gain, of equals the first in the order given; it is chosen."""
        one = int(candidates[_best_of(candidates, self.graph.edges, self._arrays, np.zeros(0, np.int64))])
        _all_taken(np.array([one]), self.graph.edges, self._arrays)
        return one

    def take(self, rows: Int64s) -> None:
        """Books that these rows are chosen."""
        _all_taken(rows, self.graph.edges, self._arrays)

    def gains(self, candidates: Int64s) -> Float64s:
        """(c,) what each would add now."""
        out = np.zeros(len(candidates))
        _gains(candidates, self.graph.edges, self._arrays, out)
        return out


@part
def _gain(u: int, edges: Any, state: Any) -> Any:
    """What u adds: the worth of its votes, or by how much its voters are nearer to it than to others."""
    start, voter, value = edges
    level, _, _, votes = state
    total = 0.0
    for e in range(start[u], start[u + 1]):
        v = voter[e]
        if votes:
            total += level[v]
        elif value[e] > level[v]:
            total += value[e] - level[v]
    return total


@part
def _take(u: int, edges: Any, state: Any) -> None:
    start, voter, value = edges
    level, times, worth, votes = state
    for e in range(start[u], start[u + 1]):
        v = voter[e]
        if not votes:
            level[v] = max(level[v], value[e])
        elif level[v] > 0:
            times[v] = min(times[v] + 1, len(worth) - 1)
            level[v] = worth[times[v]]
    if votes:
        level[u] = 0.0


@part
def _sink(heap: Any, at: int, size: int, bound: Any, rank: Any) -> None:
    """Moves what stands at this place of the heap down to where it belongs: the greatest bound is on top,
    of equal ones the least rank."""
    u = heap[at]
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size:
            a, b = heap[child], heap[child + 1]
            if bound[b] > bound[a] or (bound[b] == bound[a] and rank[b] < rank[a]):
                child += 1
        c = heap[child]
        if bound[c] < bound[u] or (bound[c] == bound[u] and rank[c] > rank[u]):
            break
        heap[at] = c
        at = child
    heap[at] = u


@kernel
def _lazily(edges: Any, state: Any, rank: Any, heap: Any, bound: Any, chosen: Any) -> None:
    """Fills chosen (m,). heap: (c,) the candidates, changed. bound: (n,) room."""
    size = len(heap)
    for i in range(size):
        bound[heap[i]] = _gain(heap[i], edges, state)
    for i in range(size // 2):
        _sink(heap, size // 2 - 1 - i, size, bound, rank)
    m = 0
    while m < len(chosen):
        u = heap[0]
        now = _gain(u, edges, state)
        if now < bound[u]:
            bound[u] = now
            _sink(heap, 0, size, bound, rank)
            if heap[0] != u:
                continue
        chosen[m] = u
        m += 1
        _take(u, edges, state)
        size -= 1
        if size > 0:
            heap[0] = heap[size]
            _sink(heap, 0, size, bound, rank)


@kernel
def _best_of(rows: Any, edges: Any, state: Any, rank: Any) -> Any:
    """Where the best of the rows stands; of equals the one of the least rank, or without ranks the first."""
    best, most = 0, -1.0
    for i in range(len(rows)):
        now = _gain(rows[i], edges, state)
        if now > most or (now == most and len(rank) > 0 and rank[rows[i]] < rank[rows[best]]):
            best, most = i, now
    return best


@kernel
def _all_taken(rows: Any, edges: Any, state: Any) -> None:
    for i in range(len(rows)):
        _take(rows[i], edges, state)


@kernel
def _gains(rows: Any, edges: Any, state: Any, out: Any) -> None:
    for i in range(len(rows)):
        out[i] = _gain(rows[i], edges, state)
