"""Pairs of rows of two classes that are each other's nearest neighbours: Tomek links."""

from __future__ import annotations

import numpy as np

from gpu_ops.kernels.neighbours import top_k
from gpu_ops.kernels.pool import Float32s, Int64s


def linked(x: Float32s, label: Int64s, device: str) -> Int64s:
    """(n,) the other row of the link that a row is in, -1 for none. x: (n, d); Euclidean."""
    every = np.arange(len(x))
    near = top_k(x, x, 1, "l2", every, device).index[:, 0] if len(x) else every
    mutual = (near >= 0) & (near[near] == every) & (label[near] != label)
    return np.where(mutual, near, -1)
