"""How often each hashed n-gram occurs in all texts together."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import AfterValidator, Field

from operators.contract import TEXT, Adds, Artifact, Columns, FoldOp, Reads, Uses
from operators.kernels.ngrams import count_ngrams, orders_wanted
from operators.kernels.text_buffers import text_buffers


def _ascending(orders: tuple[int, ...]) -> tuple[int, ...]:
    if list(orders) != sorted(set(orders)):
        raise ValueError(f"n-gram orders ascend without repeats, got {orders}")
    return orders


Orders = Annotated[
    tuple[Annotated[int, Field(ge=1, le=8)], ...], Field(min_length=1), AfterValidator(_ascending)
]
Buckets = Annotated[int, Field(ge=2, le=2**24)]


def check_target(op: str, counts: npt.NDArray[np.int64], name: str = "target") -> None:
    """ValueError where a target has no n-gram."""
    if not counts.any():
        raise ValueError(f"{op}: the {name} has no text; name a file that has some in its text column")


class NgramCounts(FoldOp):
    """Counts the n-grams of the tokens of all texts in hash buckets.

    Tokens are bytes: lower-cased runs of letters and digits (any byte from 0x80 on is one), and every
    other byte that is no white space by itself (`kernels/ngrams.py` has the hash). Nulls are empty.

    Artifact: `counts` (buckets,) int64.
    """

    ngrams: Orders = (1, 2)
    """Which n: single tokens and pairs by default."""

    buckets: Buckets = 10_000
    """How many hash buckets all n-grams share (Xie et al. 2023 use 10,000)."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        return {}

    @property
    def state_bytes(self) -> int:
        return 8 * self.buckets

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        data, starts, ends = text_buffers(batch.column("text"))
        return {"counts": count_ngrams(data, starts, ends, orders_wanted(self.ngrams), self.buckets)}

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        return {"counts": a["counts"] + b["counts"]}

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        return state

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        return {}
