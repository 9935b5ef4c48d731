"""Who stays and who goes after a round of questions, and how many are still open."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from operators.contract import Adds, Artifact, Columns, FoldOp, Reads, Uses
from operators.kernels.asking import GONE, KEPT, UNDECIDED
from operators.kernels.lists import flat

_EDGE_BYTES = 24
_STAYS, _GOES = -1, -2  # in the place of a partner: the document was decided in this round


class GreedySettle(FoldOp):
    """Decides what one round of `greedy_ask` allows; once few edges are open, decides all the rest.

    A part of `greedy_keep`. Without the last step a chain of n documents, each near the one before,
    would take n rounds. `status` is 0 undecided, 1 kept, 2 gone.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    first: bool = True
    """Whether this is the first round."""
    solve_up_to: Annotated[int, Field(ge=0)] = 65_536
    """Open edges that are gathered and solved at once (24 bytes each)."""

    @property
    def reads(self) -> Reads:
        own = {} if self.first else {"last.settle.status": pa.int8()}
        asked = {"/ask.beaten": pa.bool_(), "/ask.open": pa.list_(pa.int64())}
        return {"uid": pa.int64(), "/rank.rank": pa.uint64(), **asked, **own}

    @property
    def adds(self) -> Adds:
        return {"status": pa.int8()}

    @property
    def state_bytes(self) -> int:
        return _EDGE_BYTES * self.solve_up_to + 1024

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        status = self._status(batch)
        lengths, partner = flat(batch.column("/ask.open"))
        waits = status == UNDECIDED
        settled = self._was_open(batch) & ~waits
        uid, rank = np.asarray(batch.column("uid")), np.asarray(batch.column("/rank.rank"))
        row = np.concatenate([np.repeat(np.arange(len(uid)), lengths * waits), np.flatnonzero(settled)])
        verdict = np.where(status == KEPT, _STAYS, _GOES)[settled]
        edges = np.concatenate([partner[np.repeat(waits, lengths)], verdict])
        count = np.array([waits.sum(), len(row)], np.int64)
        return self._bounded({"count": count, "uid": uid[row], "rank": rank[row], "partner": edges})

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        joined = {name: np.concatenate([a[name], b[name]]) for name in ("uid", "rank", "partner")}
        return self._bounded({"count": a["count"] + b["count"], **joined})

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        documents, edges = state["count"].tolist()
        if edges > self.solve_up_to:
            return {"undecided": np.array([documents]), "uid": state["uid"], "kept": np.zeros(0, bool)}
        uid, kept = greedy(state["uid"], state["rank"], state["partner"])
        return {"undecided": np.array([0]), "uid": uid, "kept": kept}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        status = self._status(batch)
        if len(state["uid"]):
            uid = np.asarray(batch.column("uid"))
            place = np.minimum(np.searchsorted(state["uid"], uid), len(state["uid"]) - 1)
            solved = np.where(state["kept"][place], KEPT, GONE)
            status = np.where((status == UNDECIDED) & (state["uid"][place] == uid), solved, status)
        return {"status": pa.array(status.astype(np.int8))}

    def _was_open(self, batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        """Whether the document was undecided when it was asked."""
        if not self.first:
            return np.asarray(batch.column("last.settle.status")) == UNDECIDED
        lengths, _ = flat(batch.column("/ask.open"))
        return batch.column("/ask.beaten").to_numpy(zero_copy_only=False) | (lengths > 0)

    def _status(self, batch: pa.RecordBatch) -> npt.NDArray[np.int8]:
        lengths, _ = flat(batch.column("/ask.open"))
        beaten = batch.column("/ask.beaten").to_numpy(zero_copy_only=False)
        now = np.where(beaten, GONE, np.where(lengths == 0, KEPT, UNDECIDED)).astype(np.int8)
        if self.first:
            return now
        before = np.asarray(batch.column("last.settle.status"))
        return np.where(before == UNDECIDED, now, before)

    def _bounded(self, state: Artifact) -> Artifact:
        """Without its edges where there are too many; then the sum of any merge has too many too."""
        if state["count"][1] <= self.solve_up_to:
            order = np.lexsort([state["partner"], state["uid"]])
            return {"count": state["count"], **{k: state[k][order] for k in ("uid", "rank", "partner")}}
        return {"count": state["count"], **{k: state[k][:0] for k in ("uid", "rank", "partner")}}


def greedy(
    uid: npt.NDArray[np.int64], rank: npt.NDArray[np.uint64], partner: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """(uids ascending, kept) from the edges of all documents that were open (uid -> earlier partner,
    or the verdict of this round): in keep order, one is kept if and only if no partner is."""
    kept: dict[int, bool] = {}
    order = np.lexsort([uid, rank])
    for one, other in zip(uid[order].tolist(), partner[order].tolist(), strict=True):
        free = other == _STAYS if other < 0 else not kept[other]
        kept[one] = kept.get(one, True) and free
    uids = np.array(sorted(kept), np.int64)
    return uids, np.array([kept[one] for one in uids.tolist()], bool)
