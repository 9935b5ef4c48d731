"""Pools of embeddings for tests of selectors, and what was chosen of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa


def pool_of(x: np.ndarray, **columns: Any) -> pa.Table:
    """A table with these vectors as `embedding`."""
    lists = pa.array(list(x.astype(np.float32)), pa.list_(pa.float32()))
    return pa.table({"embedding": lists, **columns})


def ranked(found: pa.Table) -> list[int]:
    """The chosen rows in the order in which they were."""
    rank = found["rank"].combine_chunks()
    rows = np.flatnonzero(rank.is_valid())
    return rows[np.argsort(np.asarray(rank.drop_null()))].tolist()
