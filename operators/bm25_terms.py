"""How many documents hold each word of the queries, and how long documents are."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.bm25_queries import MOST_PAIRS
from operators.contract import TEXT, Adds, Artifact, Columns, FoldOp, Reads, Uses
from operators.kernels.bm25 import Postings, document_counts
from operators.kernels.text_buffers import text_buffers


class Bm25Terms(FoldOp):
    """Counts, for the artifact `queries` (`bm25_queries`), what BM25 needs to know of all documents.

    A part of `bm25`. Artifact: `documents` (V,) that hold each word; `filled` (1,) documents that hold any
    word at all; `words` (1,) in them.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        return {}

    @property
    def state_bytes(self) -> int:
        return 8 * MOST_PAIRS

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        if not len(uses["queries"]["uid"]):
            raise ValueError("bm25: the target has no word; name a file that has some in its text column")
        known = Postings(*(uses["queries"][name] for name in Postings._fields))
        documents, filled, words = document_counts(*text_buffers(batch.column("text")), known)
        return {"documents": documents, "filled": np.array([filled]), "words": np.array([words])}

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        return {name: a[name] + b[name] for name in a}

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        return state

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        return {}
