"""Priorities are a function of (seed, key) alone, and look random."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from memory_engine import run
from scipy import stats

from operators.random_key import RandomKey


def priorities(seed: int | None, key: np.ndarray) -> np.ndarray:
    out = run(RandomKey(seed=seed), pa.table({"key": key.astype(np.uint64)}), batch_rows=7)
    return out.column("priority").to_numpy()


def test_a_function_of_seed_and_key() -> None:
    key = np.arange(100)
    one = priorities(3, key)
    np.testing.assert_array_equal(priorities(3, key[::-1]), one[::-1])
    assert len(set(one.tolist()) | set(priorities(4, key).tolist())) == 200


@pytest.mark.parametrize("seed", [0, -1, 2**64 + 3])
def test_uniform_over_64_bits(seed: int) -> None:
    got = priorities(seed, np.arange(5000)) / 2.0**64
    assert stats.kstest(got, "uniform").pvalue > 1e-3
