"""Rocchio's relevance feedback: how near a row is to what was judged relevant, and far from what was not."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from gpu_ops.kernels.centres import sums
from gpu_ops.kernels.grids import UNIT
from gpu_ops.kernels.unit_grid import GRID, MAX_DIMENSIONS, Float64s, Int64s, lengths_of, one_size, to_grid
from operators.contract import Adds, Artifact, Columns, FoldOp, Kind, Reads, Telling, Uses
from operators.kernels.grouping import GroupKey, group_codes, group_name

_RELEVANT, _NOT, _OTHER = 0, 1, 2


class Rocchio(FoldOp, Telling):
    """Adds `relevance`, the cosine in [-1, 1] of a row's embedding and a query that judgements have moved.

    Rocchio 1971, with the weights of Salton & Buckley 1990 ("Improving retrieval performance by relevance
    feedback"): q' = alpha q + beta * mean of the relevant - gamma * mean of those that are not, of unit
    vectors. For annotation: `importance` (`score_is: rank`) over rows not judged yet gives those to look at
    next, `known_labels` reads what people found. Without `query` q is the mean of the relevant rows, so that
    what counts is alpha + beta against gamma. Every row has its relevance, a judged one too: compare on
    the others, as rows that made the query are near it.

    What to expect: more rows of a wanted kind among those looked at. Of TREC's 22 fine classes, after 20
    judgements, .473 of the first 60 rows not judged were relevant, against .418 before. It chooses what
    is alike: as a selector of *training* rows it hurts (TREC, 15 % of the labels: accuracy .660, random rows
    .812).

    A row counts as relevant where `judged` is `relevant`, as not relevant where it is anything else, and as
    not judged where it is null. Rows without a direction (null, empty or zero embedding, or one with a null,
    NaN or infinity) have null and no say. All is null where there is neither a query nor a relevant row, or
    where q' is 0. Vectors are rounded to 15 bits a number, so that sums are exact: any order, cut and
    device give the same. ValueError, with the uid, for embeddings of different lengths, also than `query`.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"judged": "domain", "relevant": "web"},
        {"judged": "words", "relevant": 3, "alpha": 0, "gamma": 1},
    )

    embedding: str = "embedding"
    """The column of embeddings: lists of floats, all of one length."""
    judged: str = "relevant"
    """The column of judgements: booleans, strings or integers, null for rows not judged."""
    relevant: GroupKey = "true"
    """The value in `judged` that says a row is relevant; `true` also of booleans."""
    query: Annotated[tuple[float, ...], Field(min_length=1, max_length=MAX_DIMENSIONS)] | None = None
    """The embedding q to start from; by default the mean of the relevant rows."""
    alpha: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """Weight of q."""
    beta: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.75
    """Weight of the mean of the relevant rows."""
    gamma: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.15
    """Weight of the mean of the rows that are not relevant, which is taken away."""

    @field_validator("query")
    @classmethod
    def _points_somewhere(cls, query: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if query is not None and not (np.isfinite(query).all() and np.any(query)):
            raise ValueError("query has to be finite numbers, not all of them 0: else it has no direction")
        return query

    @property
    def reads(self) -> Reads:
        return {"uid": pa.int64(), self.embedding: Kind.VECTOR, self.judged: Kind.LABEL}

    @property
    def adds(self) -> Adds:
        return {"relevance": pa.float32()}

    @property
    def state_bytes(self) -> int:
        return 16 * MAX_DIMENSIONS + 64

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        uid = np.asarray(batch.column("uid"))
        rows, cells = UNIT.cells(batch.column(self.embedding), uid)
        if self.query and len(rows) and cells.shape[1] != len(self.query):
            raise ValueError(
                f"{self.embedding} has {cells.shape[1]} numbers at uid {uid[rows[0]]}, but `query` "
                f"{len(self.query)}: embed both with one model"
            )
        side = self._sides(batch)[rows]
        return {
            "sums": sums(cells, side, 3)[:2],
            "judged": np.bincount(side, minlength=3)[:2].astype(np.int64),
            "first": uid[rows[:1]],
        }

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        if not len(a["first"]) or not len(b["first"]):
            return a if len(a["first"]) else b
        one_size(self.embedding, *((s["sums"].shape[1], int(s["first"][0])) for s in (a, b)))
        return {
            "sums": a["sums"] + b["sums"],
            "judged": a["judged"] + b["judged"],
            "first": np.minimum(a["first"], b["first"]),
        }

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        """Artifact: `query` (1, d) int16, q' as a vector of length 32,767, no row where there is none;
        `judged` (2,) how many rows were found relevant and not relevant."""
        moved, usable = to_grid(self._moved(state["sums"] / GRID, state["judged"]))
        return {"query": moved[usable], "judged": state["judged"]}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        relevance, query = np.full(batch.num_rows, np.nan), state["query"]
        if len(query):
            rows, cells = UNIT.cells(
                batch.column(self.embedding), np.asarray(batch.column("uid")), query.shape[1]
            )
            products = cells.astype(np.float64) @ query[0].astype(np.float64)  # of integers: exact
            relevance[rows] = products / (lengths_of(cells) * lengths_of(query))
        return {"relevance": pa.array(relevance.astype(np.float32), mask=np.isnan(relevance))}

    def tell(self, state: Artifact) -> str:
        yes, no = state["judged"].tolist()
        told = f"{yes:,} rows judged relevant, {no:,} not"
        return told if len(state["query"]) else f"{told}: no query, so nothing has a relevance"

    def _sides(self, batch: pa.RecordBatch) -> Int64s:
        """(n,) relevant, not relevant, or not judged."""
        names, codes = group_codes(batch.column(self.judged), batch.num_rows)
        side = np.where(names == group_name(self.relevant), _RELEVANT, np.where(names == b"", _OTHER, _NOT))
        return side[codes].astype(np.int64)

    def _moved(self, total: Float64s, judged: Int64s) -> Float64s:
        """(1, d) q' of the sums (2, d) of unit vectors; zeros where there is nothing to start from."""
        if self.query and not total.shape[1]:  # no row has an embedding
            total = np.zeros((2, len(self.query)))
        relevant, other = total / np.maximum(judged, 1)[:, None]
        start, known = relevant, judged[_RELEVANT] > 0
        if self.query:
            start, known = to_grid(np.array([self.query]))[0][0] / GRID, np.True_
        moved = self.alpha * start + self.beta * relevant - self.gamma * other
        return np.where(known, moved, 0)[None]
