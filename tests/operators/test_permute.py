"""The values are exactly the same, on other rows, whatever the batches."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run
from scipy import stats

from operators.permute import Permute

VALUES = st.lists(st.none() | st.floats(), max_size=40)


def dealt(values: list[float | None], groups: int, size: int = 1000, seed: int = 1) -> list[float | None]:
    table = pa.table({"x": pa.array(values, pa.float64())})
    return (
        run(Permute(column="x", groups=groups, seed=seed), table, batch_rows=size).column("value").to_pylist()
    )


def fingerprint(values: list[float | None]) -> list[str]:
    return sorted(repr(v) for v in values)


@settings(deadline=None)
@given(VALUES, st.sampled_from([1, 3, 64]), st.integers(1, 9))
def test_the_values_stay_the_same_as_a_whole(values: list[float | None], groups: int, size: int) -> None:
    got = dealt(values, groups)
    assert fingerprint(got) == fingerprint(values)
    assert repr(dealt(values, groups, size)) == repr(got)


@pytest.mark.parametrize("seed", range(5))
def test_no_row_keeps_its_own_in_one_group(seed: int) -> None:
    values = list(map(float, range(50)))
    got = dealt(values, 1, seed=seed)
    assert all(a != b for a, b in zip(values, got, strict=True))


def test_what_was_dealt_says_nothing_about_the_row() -> None:
    values = [float(v) for v in np.arange(3000)]
    got = np.array(dealt(values, 64))
    assert np.mean(got == values) < 0.01
    assert stats.spearmanr(values, got).pvalue > 1e-3
    assert dealt(values, 64, seed=2) != got.tolist()


def test_integers_are_dealt_as_numbers() -> None:
    table = pa.table({"x": pa.array([3, None, 5], pa.int16())})
    got = run(Permute(column="x", groups=1), table).column("value").to_pylist()
    assert fingerprint(got) == fingerprint([3.0, None, 5.0])
