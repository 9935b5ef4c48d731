"""Histogram and percentiles against numpy, for any cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import World

from operators.contract import Artifact
from operators.kernels.ordering import float32_order
from operators.quantiles import Quantiles, percentiles

VALUES = st.lists(st.none() | st.floats() | st.integers(-5, 5).map(float), max_size=30)


def counted(values: Any, cut: list[int] | None = None) -> Artifact:
    world = World(pa.table({"x": pa.array(values, pa.float64())}), 1000, cut)
    world.execute("quantiles", Quantiles(column="x"), {})
    return world.artifacts["quantiles"]


@settings(deadline=None, max_examples=30)
@given(VALUES, st.sets(st.integers(0, 30)))
def test_the_same_bytes_for_any_cut(values: list[float | None], cut: set[int]) -> None:
    whole, pieces = counted(values), counted(values, sorted(cut))
    assert {k: v.tobytes() for k, v in whole.items()} == {k: v.tobytes() for k, v in pieces.items()}
    known = [v for v in values if v is not None and v == v]
    assert whole["counts"].sum() == len(known)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=40))
def test_percentiles_ascend_and_lie_in_their_bin(values: list[float]) -> None:
    x = np.sort(np.array(values))
    share = percentiles(counted(values), x, np.full(len(x), 0.5))
    assert (np.diff(share) >= 0).all()
    assert ((share > 0) & (share < 1)).all()
    below, upto = (np.searchsorted(x, x, side=side) / len(x) for side in ("left", "right"))
    bins = float32_order(x) >> 16
    alone = (bins[:, None] == bins[None, :]).sum(axis=1) == 1
    assert (share[alone] >= below[alone] - 1e-12).all()
    assert (share[alone] <= upto[alone] + 1e-12).all()


@pytest.mark.parametrize("law", ["lognormal", "integers", "constant"])
def test_percentiles_are_uniform_also_with_ties(law: str) -> None:
    rng = np.random.default_rng(0)
    laws = {
        "lognormal": rng.lognormal(7, 2, 5000),
        "integers": rng.integers(0, 6, 5000),
        "constant": np.ones(5000),
    }
    x = laws[law].astype(float)
    share = np.sort(percentiles(counted(x), x, rng.random(5000)))
    assert np.abs(share - (np.arange(5000) + 0.5) / 5000).max() < 0.03


def test_missing_values_have_no_percentile() -> None:
    state = counted([1.0, None, float("nan"), 2.0])
    share = percentiles(state, np.array([1.0, np.nan, 2.0]), np.full(3, 0.5))
    assert share.tolist()[::2] == [0.25, 0.75]
    assert np.isnan(share[1])


def test_infinities_are_the_ends() -> None:
    state = counted([-np.inf, 0.0, np.inf, 1e300])
    share = percentiles(state, np.array([-np.inf, 0.0, np.inf]), np.full(3, 0.5))
    assert share[0] < share[1] < share[2]
