"""How dense the surroundings of each embedding are, and a guard against outliers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from gpu_ops.kernels.neighbours import top_k
from gpu_ops.kernels.pool import Float64s, Int64s, Pool, Wanted, gather
from operators.contract import DROP, Adds, Artifact, Columns, FitOp, Kind, Reads, Telling, Uses, drop_column
from operators.kernels.lookup import at, places


class Density(FitOp, Telling):
    """Adds `density`, the mean likeness of a row's embedding to its nearest ones, and drops the least dense.

    The likeness is the cosine, or 1 / (1 + Euclidean distance); where there are fewer than `neighbours`
    others, the missing ones count as 0, so that a row alone in its group is an outlier. Mean similarity as
    "information density": Settles & Craven 2008, section 3.3, there over all rows, here over the nearest
    only (as in k-NN outlier detection, Ramaswamy et al. 2000), so that small dense classes are dense too.

    A guard for choices that seek what is far from all else, which is what outliers are: before `k_center`,
    `mmr`. With 100 labels of subjectivity (MiniLM embeddings, a linear head, 5 splits) `k_center` alone was
    right for .717, after the least dense 5 % went for .796, 20 % for .814, half for .864; random rows for
    .876. With 200 of banking77 it was .515, .594, .658, .674 against .563; with 800 of it half was too much
    (.839, .849, .849, .779 against .821). So start at 0.2.

    As a weight, give the column to `importance` (`score: density`); the densest rows alone are a shortlist
    (`cut`). It drops rare topics as well as noise: read what went.

    Rows without an embedding have null and stay. Neighbours are exact: O(rows^2 x numbers) for each group,
    7 CPU-seconds for 20,000 x 384 in one; give `group` from 100,000 rows on. Memory: as the pool, and 40
    bytes for each of rows x neighbours of a group.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"neighbours": 3},
        {"neighbours": 2, "metric": "l2", "group": "domain", "outlier": 0.3},
    )

    embedding: str = "embedding"
    """The column of embeddings: lists of floats, all of one length."""
    neighbours: Annotated[int, Field(ge=1, le=1000)] = 10
    """Over how many nearest ones the mean is."""
    metric: Literal["cosine", "l2"] = "cosine"
    """What is near."""
    group: str | None = None
    """A column of strings or integers, at most 4,096 different ones (such as clusters), within each of which
    neighbours are looked for; those in other groups are not seen. None: among all rows."""
    outlier: Annotated[float, Field(ge=0, lt=1)] | None = None
    """The share of the rows with an embedding, rounded down, that is dropped, the least dense first; None:
    nothing is dropped, and no `drop` added."""

    @property
    def reads(self) -> Reads:
        group = {self.group: Kind.LABEL} if self.group else {}
        return {"uid": pa.int64(), "key": pa.uint64(), **group, self.embedding: Kind.VECTOR}

    @property
    def columns_read(self) -> Reads:
        return {"uid": pa.int64()}

    @property
    def adds(self) -> Adds:
        return {**({} if self.outlier is None else {"drop": DROP}), "density": pa.float64()}

    def fit(self, rows: Iterator[pa.RecordBatch], device: str, uses: Uses) -> Artifact:
        """Artifact: `uid` (n,) ascending, `density` (n,), `outlier` (n,) whether the row goes."""
        pool, _, _ = gather(rows, Wanted([self.embedding], labels=[self.group] if self.group else []))
        density = np.zeros(len(pool))
        for some in _groups(pool, self.group):
            x = pool.vectors[self.embedding] if some is None else pool.at(some).vectors[self.embedding]
            density[slice(None) if some is None else some] = self._densities(x, device)
        outlier = np.zeros(len(pool), bool)
        outlier[np.argsort(density, kind="stable")[: int((self.outlier or 0) * len(pool))]] = True
        return {"uid": pool.uid, "density": density, "outlier": outlier}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        uid, known = np.asarray(batch.column("uid")), state["uid"]
        place, have = places(uid, known)
        out: dict[str, pa.Array] = {"density": pa.array(at(state["density"], place), mask=~have)}
        if self.outlier is not None:
            goes = have & at(state["outlier"], place)
            out["drop"] = drop_column(np.where(goes, 0, -1), ["outlier"])
        return out

    def tell(self, state: Artifact) -> str:
        density, outlier = state["density"], state["outlier"]
        if not len(density):
            return "no row has an embedding"
        low, middle, high = np.quantile(density, (0.05, 0.5, 0.95))
        told = f"density {low:.3f}, {middle:.3f}, {high:.3f} at 5 %, half and 95 % of the rows"
        return f"{told}; outliers are below {density[outlier].max():.3f}" if outlier.any() else told

    def _densities(self, x: Any, device: str) -> Float64s:
        """(n,) of the rows of x (n, d)."""
        if len(x) < 2:
            return np.zeros(len(x))
        count = min(self.neighbours, len(x) - 1)
        value = top_k(x, x, count, self.metric, np.arange(len(x)), device).value
        like = value if self.metric == "cosine" else 1 / (1 + value)
        return np.where(np.isnan(like), 0, like).sum(axis=1) / self.neighbours


def _groups(pool: Pool, group: str | None) -> Iterator[Int64s | None]:
    """The rows of each group that has any; None for all of them."""
    if group is None:
        yield None
        return
    code = pool.labels[group].code
    order = np.argsort(code, kind="stable")
    yield from (some for some in np.split(order, np.flatnonzero(np.diff(code[order])) + 1) if len(some))
