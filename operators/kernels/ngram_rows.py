"""The hashed n-grams of every text by itself, as the rows of a sparse matrix (see `kernels/ngrams`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.kernels.jit import kernel
from operators.kernels.ngrams import Bytes, Flags, Int64s, _bucket, _lengthen, _read_tokens

_SCRATCH = 4096


@kernel
def list_ngrams(data: Bytes, starts: Int64s, ends: Int64s, wanted: Flags, buckets: int) -> tuple[Any, Any]:
    """(rows + 1,) offsets and, one after the other, the bucket of every n-gram of data[starts[r]:ends[r]].

    wanted: (longest,) bool, whether the n-grams of order 1, 2, ... are listed. Memory: 4 bytes for each
    order and each token, of which a text has at most as many as bytes.
    """
    longest = len(wanted)
    most = 0
    for row in range(len(starts)):
        most += ends[row] - starts[row]
    out = np.empty(most * max(int(wanted.sum()), 1), np.uint32)
    offsets = np.zeros(len(starts) + 1, np.int64)
    tokens = np.empty(_SCRATCH + longest, np.uint64)
    grams = np.empty(_SCRATCH + longest, np.uint64)
    n = 0
    for row in range(len(starts)):
        i, end, kept = starts[row], ends[row], 0
        while i < end:
            i, last = _read_tokens(data, i, end, tokens, kept)
            grams[:last] = tokens[:last]
            for order in range(1, longest + 1):
                if order > 1:
                    _lengthen(grams, tokens, order, last)
                if wanted[order - 1]:
                    for j in range(max(kept, order - 1), last):
                        out[n] = _bucket(grams[j], np.uint64(buckets))
                        n += 1
            old, kept = last, min(longest - 1, last)
            tokens[:kept] = tokens[old - kept : old].copy()
        offsets[row + 1] = n
    return offsets, out[:n].copy()
