"""CAL against scikit-learn's neighbours and scipy's divergence, and what it says of an embedding."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
from choosing import ranked
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import World, run, run_shape
from pydantic import ValidationError
from sklearn.neighbors import NearestNeighbors

from gpu_ops.cal import Cal


def table_of(p: np.ndarray, h: np.ndarray, **columns: list) -> pa.Table:
    floats = pa.list_(pa.float32())
    lists = {"embedding": pa.array(list(h.astype(np.float32)), floats)}
    return pa.table(lists | {"probabilities": pa.array(list(p.astype(np.float32)), floats), **columns})


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 30), st.integers(1, 9), st.integers(1, 5))
def test_the_divergence_is_that_of_scikit_learn_and_scipy(seed: int, n: int, before: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    before = min(before, n - 1)
    p, h = rng.dirichlet(np.ones(3), n).astype(np.float32), rng.normal(size=(n, 2)).astype(np.float32)
    mine = [row < before for row in range(n)]
    found = run(Cal(keep_rows=4, neighbours=k, labelled="mine"), table_of(p, h, mine=mine))
    near = NearestNeighbors(n_neighbors=min(k, before)).fit(h[:before])
    want = []
    for row in range(before, n):
        places = near.kneighbors(h[row : row + 1], return_distance=False)[0]
        want.append(np.mean([scipy.stats.entropy(p[one], p[row]) for one in places]))
    got = np.array(found["divergence"].to_pylist(), float)
    np.testing.assert_allclose(got[before:], want, atol=1e-5)
    assert ranked(found) == (before + np.argsort(-np.array(want))[:4]).tolist()


def test_the_neighbour_speaks_first() -> None:
    """KL of the neighbour (0.9, 0.1) from the row (0.5, 0.5): .9 ln 1.8 + .1 ln .2; the other way is .51."""
    p, h = np.array([[0.9, 0.1], [0.5, 0.5]]), np.zeros((2, 1))
    found = run(Cal(keep_rows=1, labelled="mine"), table_of(p, h, mine=[True, False]))
    assert found["divergence"].to_pylist() == [None, pytest.approx(0.9 * np.log(1.8) + 0.1 * np.log(0.2))]


def test_a_labelled_row_is_not_its_own_neighbour() -> None:
    p, h = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]), np.array([[0.0], [5], [9]])
    found = run(Cal(keep_rows=1, neighbours=1, labelled="mine"), table_of(p, h, mine=[True, True, None]))
    first = 0.2 * np.log(0.2 / 0.9) + 0.8 * np.log(0.8 / 0.1)
    assert found["divergence"][0].as_py() == pytest.approx(first, rel=1e-5)


def test_a_class_that_a_row_rules_out_is_no_infinity() -> None:
    p, h = np.array([[0.5, 0.5], [1.0, 0.0]]), np.zeros((2, 1))
    found = run(Cal(keep_rows=1, labelled="mine"), table_of(p, h, mine=[True, None]))
    assert found["divergence"][1].as_py() == pytest.approx(0.5 * np.log(0.5) + 0.5 * np.log(0.5 / 1e-12))


def test_without_labelled_rows_the_choice_is_random_and_says_so() -> None:
    rng = np.random.default_rng(0)
    p, h = rng.dirichlet(np.ones(2), 40), rng.normal(size=(40, 2))
    table = table_of(p, h, mine=[None] * 40, part=["a", "b"] * 20)
    chosen = {tuple(ranked(run(Cal(keep_rows=5, labelled="mine", seed=seed), table))) for seed in range(4)}
    assert len(chosen) == 4
    assert "random" in told(Cal(keep_rows=5, labelled="mine", group="part"), table)
    assert run(Cal(keep_rows=5, labelled="mine"), table)["divergence"].null_count == 40
    assert "random" in told(Cal(keep_rows=0, labelled="mine"), table)


def told(op: Cal, table: pa.Table) -> str:
    world = World(table, 1000, None)
    run_shape(world, "face", op, world.batches(op), {})
    return op.tell(world.artifacts["face"])


def test_it_says_whether_the_embedding_knows_of_the_classes() -> None:
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, 400)
    p = np.where(label == 1, 0.9, 0.1)
    p = np.stack([1 - p, p], axis=1)
    mine = [row < 100 for row in range(400)]
    op = Cal(keep_rows=5, labelled="mine", group="part")
    good = table_of(p, label[:, None] * 9.0 + rng.normal(size=(400, 1)), mine=mine, part=[1, 2] * 200)
    bad = table_of(p, rng.normal(size=(400, 1)), mine=mine, part=[1, 2] * 200)
    assert told(op, good).startswith("100% of the labelled neighbours have the row's predicted class, 5")
    share = int(told(op, bad)[:2])
    assert 40 <= share <= 60


def test_groups_have_their_own_neighbours() -> None:
    rng = np.random.default_rng(3)
    p, h = rng.dirichlet(np.ones(3), 60), rng.normal(size=(60, 2))
    mine, part = [row % 3 == 0 for row in range(60)], [row < 30 for row in range(60)]
    table = table_of(p, h, mine=mine, part=["a" if one else "b" for one in part])
    both = run(Cal(keep_rows=8, labelled="mine", group="part"), table)
    alone = run(Cal(keep_rows=4, labelled="mine"), table.slice(0, 30))
    np.testing.assert_allclose(both["divergence"].to_numpy()[:30], alone["divergence"].to_numpy())
    assert [row for row in ranked(both) if row < 30] == ranked(alone)


def test_labelled_rows_are_needed_and_numbers_bounded() -> None:
    with pytest.raises(ValidationError, match="give `labelled`"):
        Cal(keep_rows=1)
    table = table_of(np.full((2, 2), 0.5), np.array([[1.0], [1e16]]), mine=[True, None])
    with pytest.raises(ValueError, match=r"beyond 1e\+15 at uid 1"):
        run(Cal(keep_rows=1, labelled="mine"), table)
