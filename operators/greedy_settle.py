"""Who stays and who goes after a round of questions, and how many are still open."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from operators.contract import Adds, Artifact, Columns, FoldOp, Reads, Uses
from operators.kernels.asking import GONE, KEPT, UNDECIDED
from operators.kernels.edges import EDGES, NOBODY, UNSURE, open_edges, solve
from operators.kernels.lists import filled
from operators.kernels.lookup import places

_EDGE_BYTES = 31
_STATE = ("uid", "tier", "rank", "partner", "similarity", "known")


class GreedySettle(FoldOp):
    """Decides what one round of `greedy_ask` allows; once few edges are open, decides all the rest.

    A part of `near_decision` and `near_sure`: reads parts of the recipe around them. Without the
    last step a chain of n documents, each near the one before, would take n rounds. `status` is 0
    undecided, 1 kept, 2 gone; `kept` and `similarity` name the nearest partner that stays.
    """

    version: ClassVar[int] = 3
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    first: bool = True
    """Whether this is the first round, before which nothing was asked."""
    solve_up_to: Annotated[int, Field(ge=0)] = 65_536
    """Open edges that are gathered and solved at once (31 bytes each)."""
    again: bool = False
    """Whether candidates were verified a second time; before, who may have more of them stays open."""

    @property
    def reads(self) -> Reads:
        own = {"uid": pa.int64(), "/rank.tier": pa.uint16(), "/rank.rank": pa.uint64()}
        if self.first:
            return {**own, **EDGES[self._source()]}
        best = {"kept": pa.int64(), "similarity": pa.float32()}
        asked = {"/ask.asked": pa.bool_(), **{f"/ask.{name}": kind for name, kind in best.items()}}
        before = {f"last.settle.{name}": kind for name, kind in best.items()}
        return {**own, **EDGES[self._source()], **asked, **before}

    @property
    def adds(self) -> Adds:
        return {"status": pa.int8(), "kept": pa.int64(), "similarity": pa.float32()}

    @property
    def state_bytes(self) -> int:
        return _EDGE_BYTES * self.solve_up_to + 1024

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        lengths, partner, nearness = self._open(batch)
        kept, similarity = self._best(batch)
        decided = np.flatnonzero((kept >= 0) & self._asked(batch))
        row = np.concatenate([np.repeat(np.arange(len(lengths)), lengths), decided])
        place = {
            name: np.asarray(batch.column(at))[row] for name, at in zip(_STATE[:3], self.reads, strict=False)
        }
        state = {
            **place,
            "partner": np.concatenate([partner, kept[decided]]),
            "similarity": np.concatenate([nearness, similarity[decided]]),
            "known": np.arange(len(row)) >= len(partner),
        }
        return self._bounded({"count": np.array([(lengths > 0).sum(), len(row)], np.int64), **state})

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        joined = {name: np.concatenate([a[name], b[name]]) for name in _STATE}
        return self._bounded({"count": a["count"] + b["count"], **joined})

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        documents, edges = state["count"].tolist()
        uid, kept, similarity = solve(state)
        left = documents if edges > self.solve_up_to else 0
        return {"undecided": np.array([left]), "uid": uid, "kept": kept, "similarity": similarity}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        lengths, _, _ = self._open(batch)
        kept, similarity = self._best(batch)
        waits = lengths > 0
        if len(state["uid"]):
            uid = np.asarray(batch.column("uid"))
            place, solved = places(uid, state["uid"])
            kept = np.where(solved, state["kept"][place], kept)
            similarity = np.where(solved, state["similarity"][place], similarity)
            waits &= ~solved | (kept == UNSURE)
        status = np.where(kept >= 0, GONE, np.where(waits, UNDECIDED, KEPT)).astype(np.int8)
        gone = kept >= 0
        return {
            "status": pa.array(status),
            "kept": pa.array(kept, mask=~gone),
            "similarity": pa.array(similarity, mask=~gone),
        }

    def _open(self, batch: pa.RecordBatch) -> Any:
        return open_edges(batch, self._source())

    def _source(self) -> str:
        return ("reverify" if self.again else "verify") if self.first else "ask"

    def _asked(self, batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        if self.first:
            return np.zeros(batch.num_rows, bool)
        return batch.column("/ask.asked").to_numpy(zero_copy_only=False)

    def _best(self, batch: pa.RecordBatch) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The nearest partner that is known to stay: of this round or of those before."""
        if self.first:
            return np.full(batch.num_rows, NOBODY, np.int64), np.zeros(batch.num_rows, np.float32)
        new, old = (filled(batch.column(f"{part}.kept"), NOBODY) for part in ("/ask", "last.settle"))
        near, before = (filled(batch.column(f"{part}.similarity"), 0) for part in ("/ask", "last.settle"))
        better = (old < 0) | (near > before) | ((near == before) & (new < old))
        better &= new >= 0
        return np.where(better, new, old), np.where(better, near, before)

    def _bounded(self, state: Artifact) -> Artifact:
        """Without its edges where there are too many; then the sum of any merge has too many too."""
        if state["count"][1] <= self.solve_up_to:
            order = np.lexsort([state["known"], state["partner"], state["uid"]])
            return {"count": state["count"], **{name: state[name][order] for name in _STATE}}
        return {"count": state["count"], **{name: state[name][:0] for name in _STATE}}
