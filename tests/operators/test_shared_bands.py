"""Bands that two documents share."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from memory_engine import run

from operators.kernels.lists import fixed
from operators.shared_bands import SharedBands


def test_only_bands_of_two_single_documents_with_words() -> None:
    bands = np.array([[1, 2, 3], [9, 2, 8], [1, 2, 3], [1, 0, 3], [6, 7, 3]], np.uint64)
    table = pa.table(
        {
            "/signature.bands": fixed(bands),
            "/signature.shingles": pa.array([4, 4, 4, 0, 4], pa.int32()),
            "/same.twin": pa.array([None, None, 0, None, None], pa.int64()),
        }
    )
    for batch_rows in (1, 2, 5):
        shared = run(SharedBands(), table, batch_rows)["shared"].to_pylist()
        assert shared == [[1, 2], [1], [], [], [2]]
