"""The columns of a classifier's log-probabilities, the same for every kind of classifier.

Legend: n rows of a batch, m of them that have a distribution, K classes, T distributions of each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from gpu_ops.kernels.uncertainty import (
    Float64s,
    Int64s,
    confidence,
    el2n,
    entropy,
    least_confidence,
    margin,
)
from operators.contract import Adds, Columns
from operators.kernels.lists import listed

ADDS: Adds = {
    "probabilities": pa.list_(pa.float32()),
    "predicted": pa.string(),
    "confidence": pa.float32(),
    "entropy": pa.float32(),
    "margin": pa.float32(),
    "least_confidence": pa.float32(),
}
GOLD: Adds = {"p_label": pa.float32(), "loss": pa.float32(), "el2n": pa.float32()}
PASSES: Adds = {"pass_probabilities": pa.list_(pa.float32())}


def class_columns(rows: Int64s, log_p: Float64s, names: Sequence[str], n: int) -> Columns:
    """The columns of ADDS, null but for these rows. rows: (m,) ascending; log_p: (m, K)."""
    predicted = np.full(n, None, object)
    predicted[rows] = [names[i] for i in log_p.argmax(axis=1)]
    measures = {
        "confidence": confidence,
        "entropy": entropy,
        "margin": margin,
        "least_confidence": least_confidence,
    }
    return {
        "probabilities": _lists(rows, log_p, n),
        "predicted": pa.array(predicted, pa.string()),
        **{name: numbers(rows, how(log_p), n) for name, how in measures.items()},
    }


def pass_column(rows: Int64s, log_p_TmK: Float64s, n: int) -> Columns:
    """The column of PASSES: all of a row's distributions, one after the other; null but for these rows."""
    passes, m, classes = log_p_TmK.shape
    return {"pass_probabilities": _lists(rows, log_p_TmK.transpose(1, 0, 2).reshape(m, passes * classes), n)}


def gold_columns(rows: Int64s, log_p: Float64s, label: Int64s, n: int) -> Columns:
    """The columns of GOLD, null but for these rows. label: (m,) the right class, -1 for none."""
    have = label >= 0
    rows, log_p, label = rows[have], log_p[have], label[have]
    of_label = log_p[np.arange(len(label)), label]
    return {
        "p_label": numbers(rows, np.exp(of_label), n),
        "loss": numbers(rows, -of_label, n),
        "el2n": numbers(rows, el2n(log_p, label), n),
    }


def numbers(rows: Int64s, values: Float64s, n: int) -> pa.Array:
    """(n,) float32 with the values at these rows, null elsewhere."""
    found, absent = np.zeros(n, np.float32), np.ones(n, bool)
    found[rows], absent[rows] = values, False
    return pa.array(found, mask=absent)


def _lists(rows: Int64s, log_p: Float64s, n: int) -> pa.Array:
    """(n,) lists of the probabilities of log_p (m, c), null but for these rows."""
    lengths = np.zeros(n, np.int64)
    lengths[rows] = log_p.shape[1]
    lists = listed(lengths, np.exp(log_p).astype(np.float32).reshape(-1), pa.float32())
    return pa.ListArray.from_arrays(lists.offsets, lists.values, mask=pa.array(lengths == 0))
