"""The words of target examples, as queries to score documents by."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.contract import TEXT, Adds, Artifact, Columns, FoldOp, Reads, Uses
from operators.kernels.bm25 import fill_table, list_words
from operators.kernels.text_buffers import text_buffers

MOST_PAIRS = 50_000_000
_BYTES = 24  # of a word in a query


class Bm25Queries(FoldOp):
    """Collects the different words of every row, with how often it has them.

    A part of `bm25`. The artifact: `kernels.bm25.Postings`, and `uid` (Q,), the rows that have words, in
    ascending order: these are the queries.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)

    @property
    def reads(self) -> Reads:
        return {"uid": pa.int64(), "text": TEXT}

    @property
    def adds(self) -> Adds:
        return {}

    @property
    def state_bytes(self) -> int:
        return _BYTES * MOST_PAIRS

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        row, hashes = list_words(*text_buffers(batch.column("text")))
        order = np.lexsort([hashes, row])
        row, hashes = row[order], hashes[order]
        new = np.append(True, (row[1:] != row[:-1]) | (hashes[1:] != hashes[:-1]))[: len(row)]
        starts = np.flatnonzero(new)
        times = np.diff(np.append(starts, len(row)))
        uid = np.asarray(batch.column("uid"))
        return self._limited({"uid": uid[row[starts]], "hash": hashes[starts], "times": times})

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        both = {name: np.concatenate([a[name], b[name]]) for name in a}
        order = np.lexsort([both["hash"], both["uid"]])
        return self._limited({name: values[order] for name, values in both.items()})

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        uid, query = np.unique(state["uid"], return_inverse=True)
        hashes, word = np.unique(state["hash"], return_inverse=True)
        order = np.lexsort([query, word])
        offsets = np.append(0, np.cumsum(np.bincount(word, minlength=len(hashes))))
        cells = np.zeros(1 << (2 * len(hashes)).bit_length(), np.uint64)
        slots = np.zeros(len(cells), np.int32)
        fill_table(hashes, cells, slots)
        table: dict[str, npt.NDArray[Any]] = {"cells": cells, "slots": slots, "offsets": offsets}
        return {**table, "query": query[order], "times": state["times"][order], "uid": uid}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        return {}

    def _limited(self, state: Artifact) -> Artifact:
        if len(state["uid"]) > MOST_PAIRS:
            raise ValueError(
                f"bm25: the target's rows have more than {MOST_PAIRS:,} words; use several nodes, each with "
                "some of the rows"
            )
        return state
