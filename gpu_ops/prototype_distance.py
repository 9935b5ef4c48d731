"""How far an embedding is from the middle of its class."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from gpu_ops.kernels.centres import sums
from gpu_ops.kernels.grids import UNIT
from gpu_ops.kernels.unit_grid import MAX_DIMENSIONS, lengths_of, one_size, to_grid
from operators.contract import Adds, Artifact, Columns, FoldOp, Kind, Reads, Uses
from operators.kernels.grouping import MAX_GROUPS, group_codes, places_of, together
from operators.kernels.lookup import places


class PrototypeDistance(FoldOp):
    """Adds `distance`: 1 - the cosine of an embedding and the mean direction of its class, in [0, 2].

    The supervised prototypes of Sorscher et al. (2022, arXiv 2206.14486, appendix): a row far from its
    prototype is hard, or its label is wrong. Without labels, `kmeans` gives as much: 1 - `similarity`. Null
    for rows without a label or without a direction (null, empty and zero embeddings, such with a null, NaN or
    infinity), and where the sum of a class is 0. A class with a single row has the distance 0.

    Embeddings count as unit vectors that are rounded to 15 bits a number, so that sums are exact: any order,
    any cut, any device give the same. ValueError, with the uid, for embeddings of different lengths, and for
    more than 4,096 labels.

    Artifact: `classes` (K,) bytes, ascending; `sums` (K, d) int64.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"label": "domain"})

    embedding: str = "embedding"
    """The column of embeddings: lists of floats, all of one length."""
    label: str = "label"
    """The column of labels: strings or integers."""

    @property
    def reads(self) -> Reads:
        return {"uid": pa.int64(), self.embedding: Kind.VECTOR, self.label: Kind.LABEL}

    @property
    def adds(self) -> Adds:
        return {"distance": pa.float32()}

    @property
    def state_bytes(self) -> int:
        return MAX_GROUPS * (8 * MAX_DIMENSIONS + 256)

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        uid = np.asarray(batch.column("uid"))
        rows, cells = UNIT.cells(batch.column(self.embedding), uid)
        names, codes = group_codes(batch.column(self.label), batch.num_rows)
        known = names[codes[rows]] != b""
        rows, cells = rows[known], cells[known]
        present, code = np.unique(codes[rows], return_inverse=True)
        return {
            "classes": names[present],
            "sums": sums(cells, code.reshape(-1).astype(np.int64), len(present)),
            "first": uid[rows[:1]],
        }

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        if not len(a["first"]) or not len(b["first"]):
            return a if len(a["first"]) else b
        one, other = ((state["sums"].shape[1], int(state["first"][0])) for state in (a, b))
        one_size(self.embedding, one, other)
        classes = together(a["classes"], b["classes"])
        total = np.zeros((len(classes), one[0]), np.int64)
        for state in (a, b):
            total[places_of(state["classes"], classes)] += state["sums"]
        return {"classes": classes, "sums": total, "first": np.minimum(a["first"], b["first"])}

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        return {"classes": state["classes"], "sums": state["sums"]}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        distance, classes = np.full(batch.num_rows, np.nan), state["classes"]
        if len(classes):
            uid = np.asarray(batch.column("uid"))
            rows, cells = UNIT.cells(batch.column(self.embedding), uid, state["sums"].shape[1])
            names, codes = group_codes(batch.column(self.label), batch.num_rows)
            prototypes, usable = to_grid(state["sums"].astype(np.float64))
            place = places(names, classes)[0][codes[rows]]
            known = (names[codes[rows]] != b"") & usable[place]
            rows, cells, mine = rows[known], cells[known].astype(np.float64), prototypes[place[known]]
            product = (cells * mine).sum(axis=1)  # of integers below 2**31 each: exact
            distance[rows] = 1 - product / (lengths_of(cells.astype(np.int64)) * lengths_of(mine))
        return {"distance": pa.array(distance.astype(np.float32), mask=np.isnan(distance))}
