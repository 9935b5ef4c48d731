"""What assistants see of a text, and how sure one is: rows of hashed n-grams, and a logistic model of them.

Legend: R rows, B buckets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.kernels.counter import mix64

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def gram_matrix(offsets: Any, grams: Any, buckets: int) -> Any:
    """(R, B) sparse: log(1 + count) of each bucket, each row of length 1. offsets: (R + 1,) where the rows of
    `grams`, buckets one after the other, begin and end."""
    from scipy import sparse

    ones = np.ones(len(grams))
    x = sparse.csr_matrix((ones, grams.astype(np.int32), offsets), (len(offsets) - 1, buckets))
    x.sum_duplicates()
    x.data = np.log1p(x.data)
    starts = x.indptr[:-1]
    squares = np.concatenate([x.data**2, np.zeros(1)])
    norm = np.sqrt(np.where(np.diff(x.indptr) > 0, np.add.reduceat(squares, starts), 1.0))
    x.data /= np.repeat(norm, np.diff(x.indptr))
    return x


def token_grams(ids: Ints, lengths: Ints, orders: Sequence[int], buckets: int) -> tuple[Ints, Ints]:
    """(R + 1,) offsets and the buckets of the n-grams of rows of token ids, of which the first `lengths` are
    there. orders: which n."""
    rows, width = ids.shape
    key = mix64(ids.astype(np.uint64))
    found, owner = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    gram = np.zeros((rows, width), np.uint64)
    for order in range(1, max(orders) + 1):
        if order > width:
            break
        gram = mix64(gram[:, : width - order + 1] ^ key[:, order - 1 :])
        if order in orders:
            there = np.arange(gram.shape[1]) + order <= lengths[:, None]
            row, place = np.nonzero(there)
            found.append((gram[row, place] % np.uint64(buckets)).astype(np.int64))
            owner.append(row)
    row, bucket = np.concatenate(owner), np.concatenate(found)
    by_row = np.argsort(row, kind="stable")
    return np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))]), bucket[by_row]


def sure(x: Any, coef: Floats, intercept: float | Floats) -> Floats:
    """(R,) the probability of the positive class: sigmoid(x coef + intercept)."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-(x @ coef + intercept))), np.float64)
