"""AcTune: the values of regions by scipy, whose turn it is by brute force, and which rows are trusted."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from choosing import pool_of
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run
from pydantic import ValidationError
from scipy.stats import entropy as scipy_entropy

from gpu_ops.actune import Actune
from gpu_ops.actune_choice import ActuneChoice
from gpu_ops.actune_regions import ActuneRegions, region_values, visits
from gpu_ops.kernels.clusters import Clusters


def test_a_region_is_worth_its_uncertainty_and_the_mix_of_its_predictions() -> None:
    rng = np.random.default_rng(1)
    region, label, unsure = rng.integers(0, 4, 90), rng.integers(0, 3, 90), rng.random(90)
    want = [
        unsure[region == r].mean() + 0.7 * scipy_entropy(np.bincount(label[region == r])) for r in range(4)
    ]
    found = region_values(Clusters(region, np.zeros(90), 5), unsure, label, 0.7)
    np.testing.assert_allclose(found, [*want, 0])


@settings(max_examples=50)
@given(seed=st.integers(0, 10**6), at_once=st.integers(1, 4))
def test_regions_take_turns(seed: int, at_once: int) -> None:
    rng = np.random.default_rng(seed)
    region, unsure, value = rng.integers(0, 3, 20), rng.integers(0, 5, 20) / 4, rng.random(3)
    left = {r: sorted(np.flatnonzero(region == r), key=lambda i: (-unsure[i], i)) for r in range(3)}
    want: list[int] = []
    while any(left.values()):
        for r in np.argsort(-value):
            want += left[r][:at_once]
            left[r] = left[r][at_once:]
    assert visits(region, unsure, value, at_once).tolist() == want


def planted() -> tuple[pa.Table, np.ndarray]:
    """Six clusters of 30 rows; in two of them the model is unsure and its predictions mixed."""
    rng = np.random.default_rng(3)
    region = np.repeat(np.arange(6), 30)
    x = rng.normal(size=(180, 4)) + rng.normal(size=(6, 4))[region] * 30
    unsure = np.isin(region, [1, 4])
    entropy = np.where(unsure, 0.5, 0.1) + rng.random(180) / 10
    predicted = np.where(unsure, rng.choice(["a", "b", "c"], 180), "d")
    return pool_of(x, entropy=entropy, predicted=pa.array(predicted)), region


def test_uncertain_regions_are_labelled_and_the_surest_rows_trusted() -> None:
    table, region = planted()
    found = run(Actune(keep_rows=12, regions=6, rows_per_region=6, pseudo_rows=20, seed=1), table)
    entropy = table["entropy"].to_numpy()
    rank = found["rank"].combine_chunks()
    chosen = np.flatnonzero(rank.is_valid())
    assert np.bincount(region[chosen], minlength=6).tolist() == [0, 6, 0, 0, 6, 0]
    for one in (1, 4):
        rows = np.flatnonzero(region == one)
        assert set(rows[np.argsort(-entropy[rows])][:6]) <= set(chosen)
    trusted = np.flatnonzero(found["pseudo"].combine_chunks().is_valid())
    assert sorted(trusted) == sorted(np.argsort(entropy)[:20])
    assert set(found["pseudo"].to_pylist()) == {None, "d"}
    stays = np.flatnonzero(found["drop"].combine_chunks().is_null())
    assert sorted(stays) == sorted([*chosen, *trusted])
    assert run(Actune(keep_rows=12, regions=6, rows_per_region=6, pseudo_rows=20, seed=1), table, 7).equals(
        found
    )


def test_rows_labelled_before_stay_and_are_not_trusted() -> None:
    table, region = planted()
    before = pa.array(region == 1)
    op = Actune(keep_rows=5, regions=6, pseudo_rows=1000, labelled="b", seed=1)
    found = run(op, table.append_column("b", before))
    rank, pseudo = found["rank"].combine_chunks(), found["pseudo"].combine_chunks()
    assert set(region[np.flatnonzero(rank.is_valid())]) == {4}
    assert np.flatnonzero(pseudo.is_valid()).size == 180 - 30 - 5
    assert found["drop"].null_count == 180


def test_the_run_is_told_how_unsure_the_regions_are() -> None:
    x = np.array([[0.0], [0.1], [9.0], [9.1]])
    table = pool_of(x, entropy=[0.5, 0.5, 0.25, 0.25], predicted=["a", "a", "b", "b"])
    columns = {"uid": pa.array(range(4)), "key": pa.array(range(4), pa.uint64())}
    batch = pa.record_batch({**{n: table[n].combine_chunks() for n in table.column_names}, **columns})
    op = ActuneRegions(keep_rows=1, regions=2, pseudo_rows=2)
    told = op.tell(op.fit(iter([batch]), "cpu", {}))
    assert "1 of 2 regions" in told
    assert "from 0.5 to 0.5 (all: down to 0.25); 2 rows to trust" in told
    assert "nothing" in op.tell(op.fit(iter([batch.slice(0, 0)]), "cpu", {}))


def test_one_budget_is_asked_for() -> None:
    with pytest.raises(ValidationError, match="give one of keep_rows"):
        Actune()


def test_each_row_is_labelled_trusted_or_dropped_with_its_reason() -> None:
    rank = pa.array([None, 0, None, None, None], pa.int64())
    predicted = pa.array(["a", "b", "a", None, "b"])
    uid = pa.array(range(5))
    batch = pa.record_batch({"uid": uid, "/regions.rank": rank, "predicted": predicted})
    state = {name: np.array([row]) for name, row in (("pseudo", 0), ("apart", 3), ("before", 4))}
    found = ActuneChoice().columns(batch, {"regions": state})
    assert found["pseudo"].to_pylist() == ["a", None, None, None, None]
    assert found["drop"].to_pylist() == [None, None, "not_selected", "not_comparable", None]
