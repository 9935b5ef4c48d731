"""The box around all embeddings and the largest weight, from which k-means has its integers."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from gpu_ops.kernels.centres import whole_weights
from gpu_ops.kernels.grids import BoxGrid, placed
from gpu_ops.kernels.unit_grid import MAX_DIMENSIONS, dense, one_size
from operators.contract import Adds, Artifact, Columns, FoldOp, Kind, Reads, Uses

Metric = Literal["cosine", "l2"]
Weights = Annotated[str | None, Field(min_length=1)]


class KmeansGrid(FoldOp):
    """Finds the least and the largest number of every dimension, and the largest weight.

    A part of `kmeans` where distances are Euclidean or rows have weights. ValueError, with the uid, for
    a weight that is negative, NaN or infinite, and where all weights are 0 or null.

    Artifact: `offset` (d,) and `step` (2,) of `BoxGrid` with `metric: l2` if any row is usable; `heaviest`
    (1,) with weights.
    """

    version: ClassVar[int] = 2
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"metric": "cosine", "weights": "words"})

    column: str = "embedding"
    """The embeddings: lists of floats, all of one length."""
    metric: Metric = "l2"
    """Euclidean distance, or the cosine."""
    weights: Weights = None
    """The column of weights."""

    @property
    def reads(self) -> Reads:
        weights: Reads = {self.weights: Kind.NUMBER} if self.weights else {}
        return {"uid": pa.int64(), self.column: Kind.VECTOR, **weights}

    @property
    def adds(self) -> Adds:
        return {}

    @property
    def state_bytes(self) -> int:
        return 2 * 8 * MAX_DIMENSIONS + 64

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        uid = np.asarray(batch.column("uid"))
        state = {"heaviest": np.zeros(1), "rows": np.zeros(1, np.int64), "first": np.zeros(0, np.int64)}
        state |= {"low": np.zeros(0), "high": np.zeros(0)}
        if self.weights and len(uid):
            state["heaviest"] = weights_of(batch, self.weights).max(keepdims=True)
        if self.metric == "l2":
            rows, vectors = dense(batch.column(self.column), uid)
            usable = placed(vectors)
            if usable.any():
                inside = vectors[usable]
                state["low"], state["high"] = (f(axis=0).astype(np.float64) for f in (inside.min, inside.max))
                state["first"] = uid[rows[usable][:1]]
        state["rows"] = np.array([len(uid)])
        return state

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        sums = {"rows": a["rows"] + b["rows"], "heaviest": np.maximum(a["heaviest"], b["heaviest"])}
        if not len(a["first"]) or not len(b["first"]):
            box = a if len(a["first"]) else b
            return {**sums, **{name: box[name] for name in ("first", "low", "high")}}
        one, other = ((len(state["low"]), int(state["first"][0])) for state in (a, b))
        one_size(self.column, one, other)
        first = np.minimum(a["first"], b["first"])
        low, high = np.minimum(a["low"], b["low"]), np.maximum(a["high"], b["high"])
        return {**sums, "first": first, "low": low, "high": high}

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        weights: Artifact = {"heaviest": state["heaviest"]} if self.weights else {}
        if self.weights and int(state["rows"][0]) and not float(state["heaviest"][0]):
            raise ValueError(f"all weights in {self.weights} are 0 or null: nothing would pull a centre")
        if not len(state["first"]):
            return weights
        return {**weights, **BoxGrid.around(state["low"], state["high"]).arrays()}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        return {}


def weights_of(batch: pa.RecordBatch, name: str) -> npt.NDArray[np.float64]:
    """(n,) the weights of a batch that has `uid`, a null as 0; ValueError for what is none."""
    column = pc.cast(batch.column(name), pa.float64(), safe=False)
    weight: npt.NDArray[np.float64] = pc.fill_null(column, 0.0).to_numpy(zero_copy_only=False)
    bad = ~((weight >= 0) & np.isfinite(weight))
    if bad.any():
        row = int(np.argmax(bad))
        uid = batch.column("uid")[row].as_py()
        raise ValueError(f"the weight in {name} is {weight[row]} at uid {uid}; a weight is finite and >= 0")
    return weight


def whole_weights_of(batch: pa.RecordBatch, name: str | None, uses: Artifact) -> npt.NDArray[np.int64] | None:
    """(n,) the weights as integers by the `heaviest` in an artifact; None where no column is named."""
    return whole_weights(weights_of(batch, name), float(uses["heaviest"][0])) if name else None
