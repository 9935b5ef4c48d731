"""What the two searches for near duplicates found: the first, and the second of those that it has cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.contract import Reads
from operators.kernels.lists import flat

Int64s = npt.NDArray[np.int64]


def candidate_columns(again: bool) -> Reads:
    """The columns that `candidates` reads."""
    return {f"/{part}.near": pa.list_(pa.int64()) for part in (("near", "again") if again else ("near",))}


def candidates(batch: pa.RecordBatch, again: bool) -> tuple[Int64s, Int64s]:
    """(lengths (n,), uids) of the candidates of each row; with `again` those of the second search that
    the first has not found."""
    lengths, near = flat(batch.column("/near.near"))
    if not again:
        return lengths, near
    more, found = flat(batch.column("/again.near"))
    row = np.repeat(np.arange(len(more)), more)
    asks = more[np.repeat(np.arange(len(lengths)), lengths)] > 0
    old = _pairs(np.repeat(np.arange(len(lengths)), lengths)[asks], near[asks])
    new = ~np.isin(_pairs(row, found), old)
    return np.bincount(row[new], minlength=len(more)), found[new]


def _pairs(row: Int64s, uid: Int64s) -> Any:
    """(row, uid) as one number each; both are exact up to 2^53."""
    return row.astype(np.complex128) + 1j * uid
