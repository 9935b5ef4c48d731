"""The k nearest of many vectors, exactly, with the data streamed in blocks.

Legend: q queries, n data vectors of which m are at hand, d numbers in each, p pairs to look at closely.

float32 products, by faiss on the CPU or torch on any device, name a few more than k candidates; these pairs
are compared in float64, in an order of sums that depends on nothing else; whatever the error of float32
could have hidden is looked for. So the answer is the same for any blocks, threads and device, copies of a
vector tie exactly, and ties go to the lowest index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from gpu_ops.kernels.mapped import let_go

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.floating[Any]]
Metric = Literal["cosine", "l2"]

TILE = 16_384  # data vectors at once
BLOCK = 2048  # queries at once
PAIRS = 2048  # pairs at once
SPARE = 16  # candidates beyond k
LARGEST = 1e15  # whose squares float32 can add up


@dataclass(frozen=True)
class Neighbours:
    """index: (q, k) places in the data, the nearest first, -1 where there are fewer than k.

    value: (q, k) cosines, descending, or Euclidean distances, ascending; NaN where there is none."""

    index: Int64s
    value: Float64s


def top_k(
    queries: Vectors,
    data: Vectors | Iterable[Vectors],
    k: int,
    metric: Metric = "cosine",
    own: Int64s | None = None,
    device: str = "cpu",
) -> Neighbours:
    """Each query's k nearest data vectors; of equally near ones the lowest index.

    queries: (q, d), an array or memmap. data: (n, d), or blocks of it in order, read once. own: (q,) where
    in the data each query is itself (-1: nowhere), which is no neighbour. device: of torch; on the CPU faiss
    is taken where it is installed. Memory: (q, k), and some 20,000 vectors.
    Vectors with NaN or infinity, and zeros for the cosine, neither have nor are neighbours. ValueError for
    other sizes than the queries', and for numbers over 1e15 with l2.
    """
    if k < 1:
        raise ValueError(f"k is {k}; it must be at least 1")
    best = _Best(np.full((len(queries), k), -1), np.full((len(queries), k), -np.inf))
    view: _View | None = None
    for first, tile in _tiles(data):
        if tile.shape[1] != queries.shape[1]:
            raise ValueError(
                f"the data has {tile.shape[1]} numbers at row {first}, the queries {queries.shape[1]}"
            )
        view = view or _VIEWS[metric](tile)
        there = np.flatnonzero(view.usable(tile))
        if len(there):
            block = _Block(tile[there], first + there, view, device)
            for start in range(0, len(queries), BLOCK):
                asking = np.asarray(queries[start : start + BLOCK])
                rows = np.flatnonzero(view.usable(asking))
                block.look(asking[rows], start + rows, best, own)
            let_go(queries)
    value = np.where(best.index < 0, np.nan, best.score)
    return Neighbours(best.index, np.sqrt(-value) if metric == "l2" else value)


@dataclass
class _Best:
    """What was found so far: index (q, k), and score (q, k), descending, -inf for nothing."""

    index: Int64s
    score: Float64s

    def add(self, row: Int64s, index: Int64s, score: Float64s) -> None:
        """Keeps the k best of what is there and these pairs (p,), of which each may come twice."""
        touched, place = np.unique(row, return_inverse=True)
        k = self.index.shape[1]
        row = np.concatenate([place, np.repeat(np.arange(len(touched)), k)])
        index = np.concatenate([index, self.index[touched].ravel()])
        score = np.concatenate([score, self.score[touched].ravel()])
        order = np.lexsort([index, -score, row])
        row, index, score = row[order], index[order], score[order]
        new = np.ones(len(row), bool)
        new[1:] = (row[1:] != row[:-1]) | (index[1:] != index[:-1]) | (index[1:] < 0)
        row, index, score = row[new], index[new], score[new]
        rank = np.arange(len(row)) - np.searchsorted(row, np.arange(len(touched)))[row]
        first = rank < k
        self.index[touched[row[first]], rank[first]] = index[first]
        self.score[touched[row[first]], rank[first]] = score[first]


class _Block:
    """Data vectors (m, d), all usable, their places in the data (m,), and where candidates come from."""

    def __init__(self, vectors: Vectors, place: Int64s, view: _View, device: str) -> None:
        self.vectors, self.place, self.view = vectors, place, view
        parts = [view.answering(vectors[i : i + BLOCK]) for i in range(0, len(vectors), BLOCK)]
        self.source = _source(np.concatenate(parts), device)

    def look(self, asking: Vectors, row: Int64s, best: _Best, own: Int64s | None) -> None:
        """Adds to `best` what is near of the block. asking: (q, d) usable queries, those of the rows (q,)."""
        if not len(row):
            return
        exact, rough = self.view.exact(asking), self.view.asking(asking)
        count = min(best.index.shape[1] + SPARE + (own is not None), len(self.place))
        stand_in, column = self.source.highest(rough, count)
        likely = stand_in >= self.view.bar(exact, best.score[row, -1])[:, None]
        which, rank = np.nonzero(likely)
        self._compare(exact, row, which, column[which, rank], best, own)
        if count == len(self.place):
            return
        bar = self.view.bar(exact, best.score[row, -1])
        hidden = np.flatnonzero(stand_in[:, -1] >= bar)  # what follows may be as near as the last
        if len(hidden):
            which, columns = self.source.over(rough[hidden], bar[hidden])
            self._compare(exact, row, hidden[which], columns, best, own)

    def _compare(
        self, exact: Float64s, row: Int64s, which: Int64s, column: Int64s, best: _Best, own: Int64s | None
    ) -> None:
        if own is not None:
            other = self.place[column] != own[row[which]]
            which, column = which[other], column[other]
        scores = [np.zeros(0)]
        for start in range(0, len(which), PAIRS):
            w, c = which[start : start + PAIRS], column[start : start + PAIRS]
            scores.append(self.view.scores(exact[w], self.vectors[c]))
        best.add(row[which], self.place[column], np.concatenate(scores))


class _View(Protocol):
    """A metric: a score in float64 that grows with nearness, and its float32 stand-in, a product."""

    def usable(self, x: Vectors) -> npt.NDArray[np.bool_]:
        """(m,) which vectors can be compared."""

    def exact(self, x: Vectors) -> Float64s:
        """(q, d) queries as `scores` wants them."""

    def asking(self, x: Vectors) -> Float32s:
        """(q, e) queries for stand-ins."""

    def answering(self, x: Vectors) -> Float32s:
        """(m, e) data vectors for stand-ins."""

    def bar(self, exact: Float64s, score: Float64s) -> Float64s:
        """(q,) below which no stand-in of a score of at least `score` (q,) is."""

    def scores(self, exact: Float64s, x: Vectors) -> Float64s:
        """(p,) of pairs, (p, d) each: every one by itself, the same wherever it comes."""


def _unit(d: int) -> float:
    """By how much a float32 product may be off for each |a||b|: a sum of d terms in any order (Higham 2002,
    section 3.1), and some 16 more roundings."""
    return 1.01 * (d + 16) * 2.0**-24


class _Cosine:
    def __init__(self, first: Vectors) -> None:
        self.error = _unit(first.shape[1])

    def usable(self, x: Vectors) -> npt.NDArray[np.bool_]:
        return np.asarray(np.isfinite(x).all(axis=1) & x.any(axis=1))

    def exact(self, x: Vectors) -> Float64s:
        numbers = x.astype(np.float64)
        numbers /= np.abs(numbers).max(axis=1)[:, None]  # so that no square over- or underflows
        numbers /= np.sqrt((numbers * numbers).sum(axis=1))[:, None]
        return numbers

    def asking(self, x: Vectors) -> Float32s:
        return self.exact(x).astype(np.float32)

    def answering(self, x: Vectors) -> Float32s:
        return self.exact(x).astype(np.float32)

    def bar(self, exact: Float64s, score: Float64s) -> Float64s:
        return score - self.error

    def scores(self, exact: Float64s, x: Vectors) -> Float64s:
        return np.minimum((exact * self.exact(x)).sum(axis=1), 1.0)


class _Euclidean:
    """-|a - b|^2, whose half plus |a|^2 / 2 is a.b - |b|^2 / 2, one product of vectors with a further number.
    The mean of the first tile is the origin, so that little cancels."""

    def __init__(self, first: Vectors) -> None:
        self.error = _unit(first.shape[1] + 1)
        usable = first[self.usable(first)]
        self.origin = usable.mean(axis=0, dtype=np.float64) if len(usable) else np.zeros(first.shape[1])

    def usable(self, x: Vectors) -> npt.NDArray[np.bool_]:
        finite = np.asarray(np.isfinite(x).all(axis=1))
        if float(np.abs(x[finite]).max(initial=0)) > LARGEST:
            raise ValueError(f"a vector has numbers over {LARGEST:g}, too large for l2: rescale the column")
        return finite

    def exact(self, x: Vectors) -> Float64s:
        return x.astype(np.float64)

    def asking(self, x: Vectors) -> Float32s:
        return np.pad(x - self.origin, ((0, 0), (0, 1)), constant_values=1).astype(np.float32)

    def answering(self, x: Vectors) -> Float32s:
        moved = x - self.origin
        square = (moved * moved).sum(axis=1, keepdims=True)
        return np.concatenate([moved, (self.error - 0.5) * square], axis=1).astype(np.float32)

    def bar(self, exact: Float64s, score: Float64s) -> Float64s:
        square = ((exact - self.origin) ** 2).sum(axis=1)
        return (square + score) / 2 - self.error * square / 2 - exact.shape[1] * 1e-37  # float32 underflows

    def scores(self, exact: Float64s, x: Vectors) -> Float64s:
        apart = exact - x
        return -(apart * apart).sum(axis=1)


_VIEWS: dict[Metric, type[_Cosine] | type[_Euclidean]] = {"cosine": _Cosine, "l2": _Euclidean}


class _Source(Protocol):
    """Products with the vectors of a block, in float32 or better."""

    def highest(self, asking: Float32s, count: int) -> tuple[Float32s, Int64s]:
        """(q, count) products, descending, and whose they are."""

    def over(self, asking: Float32s, bar: Float64s) -> tuple[Int64s, Int64s]:
        """(p,) rows and columns of all products that are not below the bar (q,)."""


def _source(answering: Float32s, device: str) -> _Source:
    if device == "cpu":
        try:
            return _Faiss(answering)
        except ModuleNotFoundError:  # the extra `embed` has it
            pass
    return _Torch(answering, device)


class _Faiss:
    def __init__(self, answering: Float32s) -> None:
        import faiss

        self.index = faiss.IndexFlatIP(answering.shape[1])
        self.index.add(answering)

    def highest(self, asking: Float32s, count: int) -> tuple[Float32s, Int64s]:
        products, column = self.index.search(asking, count)
        return products, column

    def over(self, asking: Float32s, bar: Float64s) -> tuple[Int64s, Int64s]:
        found = [np.zeros((0, 2), np.int64)]
        for i in range(len(asking)):  # the API has one radius for all queries
            _, _, column = self.index.range_search(asking[i : i + 1], float(_below(bar[i : i + 1])[0]))
            found.append(np.stack([np.full(len(column), i), column], axis=1))
        row, columns = np.concatenate(found).T
        return row, columns


class _Torch:
    """In float64 where float32 products are allowed to be made of less."""

    def __init__(self, answering: Float32s, device: str) -> None:
        import torch

        self.torch, self.device = torch, torch.device(device)
        whole = torch.get_float32_matmul_precision() == "highest"
        self.kind = torch.float32 if whole else torch.float64
        self.there = self._put(answering)

    def highest(self, asking: Float32s, count: int) -> tuple[Float32s, Int64s]:
        found = (self._put(asking) @ self.there.T).topk(count, dim=1)
        return found.values.float().cpu().numpy(), found.indices.cpu().numpy()

    def over(self, asking: Float32s, bar: Float64s) -> tuple[Int64s, Int64s]:
        low = self._put(_below(bar))[:, None]
        row, column = (self._put(asking) @ self.there.T > low).nonzero(as_tuple=True)
        return row.cpu().numpy(), column.cpu().numpy()

    def _put(self, x: Float32s) -> Any:
        return self.torch.from_numpy(x).to(self.device, self.kind)


def _below(bar: Float64s) -> Float32s:
    """(q,) the nearest float32 numbers below."""
    low: Float32s = np.nextafter(bar.astype(np.float32), np.float32(-np.inf))
    return low


def _tiles(data: Vectors | Iterable[Vectors]) -> Iterator[tuple[int, Vectors]]:
    """Where a tile begins in the data, and its vectors, at least one."""
    first = 0
    for block in [data] if isinstance(data, np.ndarray) else data:
        for start in range(0, len(block), TILE):
            yield first + start, np.asarray(block[start : start + TILE])
            let_go(block)
        first += len(block)
