"""Distributions over hash buckets, and how far one lies from another.

Legend: B buckets.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]


def log_probabilities(counts: Int64s, smoothing: float) -> Float64s:
    """(..., B) nats: a bucket with count c of a total C has (c + smoothing) / (C + smoothing x B)."""
    totals = counts.sum(axis=-1, keepdims=True)
    return np.log(counts + smoothing) - np.log(totals + smoothing * counts.shape[-1])


def divergence(p: Int64s, q: Int64s, smoothing: float) -> Float64s:
    """(...) KL(p || q) in nats, of counts p (B,) and q (..., B): at least 0."""
    log_p, log_q = log_probabilities(p, smoothing), log_probabilities(q, smoothing)
    return np.maximum((np.exp(log_p) * (log_p - log_q)).sum(axis=-1), 0.0)
