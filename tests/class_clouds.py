"""Labelled points for operators that thin classes, and the oracle's answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from memory_engine import run

from gpu_ops.kernels.thinning import ThinOp
from operators.kernels.counter import mix64

SIZES = (41, 23, 11)
Data = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]


def data_of(seed: int, sizes: Sequence[int] = SIZES, d: int = 3) -> Data:
    """Overlapping clouds, in random order, in numbers that float32 holds."""
    luck = np.random.default_rng(seed)
    label = luck.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return (luck.normal(size=(len(label), d)) + 0.7 * label[:, None]).astype(np.float32).astype(float), label


def table_of(x: np.ndarray, label: Any, **columns: Any) -> pa.Table:
    lists = pa.array(list(x), pa.list_(pa.float64()))
    return pa.table({"embedding": lists, "label": pa.array(label), **columns})


def kept_by(op: ThinOp, x: np.ndarray, label: np.ndarray) -> list[int]:
    drop = run(op, table_of(x, label))["drop"].to_pylist()
    return [i for i, reason in enumerate(drop) if reason is None]


def theirs(sampler: Any, x: np.ndarray, label: np.ndarray) -> list[int]:
    sampler.fit_resample(x, label)
    return sorted(sampler.sample_indices_.tolist())


def table_batches(table: pa.Table) -> list[pa.RecordBatch]:
    n = table.num_rows
    extra = {"uid": pa.array(np.arange(n)), "key": pa.array(mix64(np.arange(n, dtype=np.uint64)))}
    return pa.table({**{name: table[name] for name in table.column_names}, **extra}).to_batches()
