"""The buckets in which a search goes on."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from memory_engine import run

from operators.asked_bands import AskedBands
from operators.kernels.lists import fixed


def test_a_bucket_is_asked_if_somebody_in_it_was_cut_and_is_not_gone() -> None:
    """0 and 1 share band 0, 1 and 2 band 1, 2 and 3 band 0; 2 was cut; 3 was cut too, but is gone."""
    table = pa.table(
        {
            "/signature.bands": fixed(np.array([[5, 1], [5, 7], [6, 7], [6, 2]], np.uint64)),
            "/shared.shared": pa.array([[0], [0, 1], [0, 1], [0]], pa.list_(pa.int16())),
            "/near.cut": [False, False, True, True],
            "/sure.gone": [False, False, False, True],
        }
    )
    for batch_rows in (1, 3, 9):
        out = run(AskedBands(), table, batch_rows)["asked"].to_pylist()
        assert out == [[False], [False, True], [True, True], []]
