"""The best documents of every query by BM25, joined."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from operators.contract import TEXT, Adds, Artifact, Columns, FoldOp, Reads, Telling, Uses
from operators.kernels.bm25 import NOBODY, Postings, Shape, best_documents, inverse_frequencies, merge_lists
from operators.kernels.text_buffers import text_buffers

MOST_PLACES = 20_000_000


class Bm25Best(FoldOp, Telling):
    """Keeps the lists of the `top` best documents of each of Q queries, and joins them.

    A part of `bm25`, which says what the scores are. Uses the artifacts `queries` (`bm25_queries`) and
    `terms` (`bm25_terms`). A document without any word of a query is not in its list.

    Artifact, of the m documents in any list, by ascending `uid`: `best_rank`, its best place in a list, from
    0; of several lists in which it has that place, the one where its score is highest: `score` and `query`,
    the target's row; `rank`, from 0, its place in the order by best rank, then score, then uid. `queries`
    (1,): Q.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    top: Annotated[int, Field(ge=1)] = 50
    """Documents of each query."""
    k1: float = Field(1.2, ge=0)
    """How soon more of a word counts no more."""
    b: float = Field(0.75, ge=0, le=1)
    """How much longer documents are discounted."""

    @property
    def reads(self) -> Reads:
        return {"uid": pa.int64(), "text": TEXT}

    @property
    def adds(self) -> Adds:
        return {}

    @property
    def state_bytes(self) -> int:
        return 16 * MOST_PLACES

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        queries, terms = uses["queries"], uses["terms"]
        shape = (len(queries["uid"]), self.top)
        if shape[0] * shape[1] > MOST_PLACES:
            raise ValueError(
                f"bm25: {shape[0]:,} target rows with {self.top} documents each are more than "
                f"{MOST_PLACES:,} places; lower `top`, or use several nodes, each with some of the rows"
            )
        scores, uids = np.zeros(shape), np.full(shape, NOBODY)
        filled = int(terms["filled"][0])
        idf = inverse_frequencies(terms["documents"], filled)
        constants = Shape(self.k1, self.b, max(int(terms["words"][0]), 1) / max(filled, 1))
        known = Postings(*(queries[name] for name in Postings._fields))
        uid = np.asarray(batch.column("uid"))
        best_documents(*text_buffers(batch.column("text")), uid, known, idf, constants, scores, uids)
        return {"scores": scores, "uids": uids}

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        scores, uids = a["scores"].copy(), a["uids"].copy()
        merge_lists(scores, uids, b["scores"], b["uids"])
        return {"scores": scores, "uids": uids}

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        query, place = np.nonzero(state["uids"] != NOBODY)
        uid, score = state["uids"][query, place], state["scores"][query, place]
        order = np.lexsort([query, -score, place, uid])
        first = order[np.append(True, np.diff(uid[order]) != 0)[: len(order)]]
        rank = np.empty(len(first), np.int64)
        rank[np.lexsort([uid[first], -score[first], place[first]])] = np.arange(len(first))
        rows = uses["queries"]["uid"]
        found = {"uid": uid[first], "best_rank": place[first], "score": score[first], "rank": rank}
        return {**found, "query": rows[query[first]], "queries": np.array([len(rows)])}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        return {}

    def tell(self, state: Artifact) -> str:
        queries, rows = int(state["queries"][0]), len(state["uid"])
        return (
            f"{rows:,} documents are among the {self.top} best of any of {queries:,} target rows "
            f"({rows / queries:.1f} a row), {int((state['best_rank'] == 0).sum()):,} of them the best of one"
        )
