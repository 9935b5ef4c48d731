"""How informative the rows of a pool are by a score, as weights, and the most informative of them.

Legend: n rows of the pool.
"""

from __future__ import annotations

import numpy as np

from gpu_ops.kernels.pool import Float64s, Int64s, Pool
from operators.kernels.counter import random_bits

_STREAM = 0x696E666F726D  # keeps apart from other draws that share a seed


def informative(pool: Pool, score: str, descending: bool) -> Float64s:
    """(n,) weights of at least 0: the score where high ones are informative, else 1 - score. ValueError, with
    the uid, for a score for which that would be below 0."""
    values = pool.numbers[score]
    outside = values < 0 if descending else (values < 0) | (values > 1)
    if outside.any():
        row = int(np.argmax(outside))
        rule = (
            "with `descending: true` the weight is the score, which must be at least 0"
            if descending
            else "without `descending: true` the weight is 1 - score, which must be between 0 and 1"
        )
        raise ValueError(f"{score} is {values[row]} at uid {pool.uid[row]}; {rule}")
    return values if descending else 1 - values


def most_informative(pool: Pool, weight: Float64s, most: int, seed: int) -> Int64s:
    """At most so many rows that were not chosen before, ascending: those of the highest weights (n,). Which
    of equals is a matter of (seed, key)."""
    free = np.flatnonzero(~pool.taken)
    if len(free) <= most:
        return free
    best = np.lexsort([free, luck_of(pool, seed)[free], -weight[free]])[:most]
    return np.sort(free[best])


def luck_of(pool: Pool, seed: int) -> Int64s:
    """(n,) random integers by (seed, key)."""
    return (random_bits(seed ^ _STREAM, pool.key) >> np.uint64(1)).astype(np.int64)
