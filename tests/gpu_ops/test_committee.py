"""committee against scikit-learn on repeated rows, its measures against scipy, and hostile rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gpu_ops.committee import Committee
from gpu_ops.kernels.linear import fit_head
from gpu_ops.kernels.uncertainty import log_softmax
from gpu_ops.kernels.votes import consensus, counts, exponentials, vote_entropy
from operators.kernels.counter import mix64


def planted(n: int = 200, classes: int = 3, seed: int = 0) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Embeddings around one centre for each class; half of the rows have no label."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, n)
    vectors = (rng.normal(size=(n, 5)) + 2 * np.eye(5)[label]).astype(np.float32)
    given = [f"class {i}" if one else None for i, one in zip(label, rng.random(n) < 1 / 2, strict=True)]
    return (
        pa.table({"embedding": pa.array(list(vectors), pa.list_(pa.float32())), "label": given}),
        vectors,
        label,
    )


def members_of(found: pa.Table, members: int) -> np.ndarray:
    flat = np.array(found["pass_probabilities"].to_pylist())
    return flat.reshape(len(flat), members, -1).transpose(1, 0, 2)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_member_is_scikit_learns_on_its_rows_repeated(classes: int) -> None:
    table, vectors, label = planted(classes=classes)
    found = run(
        Committee(members=3, keep_members=True, standardise=False, bootstrap="poisson", seed=5), table
    )
    have = np.flatnonzero(np.array(table["label"].is_valid()))
    key = mix64(have.astype(np.uint64))
    for member, p in enumerate(members_of(found, 3)):
        rows = np.repeat(have, counts(5, member, key).astype(int))
        model = LogisticRegression(max_iter=5000, tol=1e-9).fit(vectors[rows].astype(float), label[rows])
        np.testing.assert_allclose(p, model.predict_proba(vectors.astype(float)), atol=1e-4)


def test_standardising_is_that_of_the_labelled_rows() -> None:
    table, vectors, label = planted()
    found = run(
        Committee(members=2, keep_members=True, regularisation=0.5, bootstrap="poisson", seed=5), table
    )
    have = np.flatnonzero(np.array(table["label"].is_valid()))
    scaler = StandardScaler().fit(vectors[have].astype(float))
    weight = counts(5, 1, mix64(have.astype(np.uint64)))
    model = make_pipeline(scaler, LogisticRegression(C=2, max_iter=5000, tol=1e-9))
    model.steps[1][1].fit(scaler.transform(vectors[have].astype(float)), label[have], weight)
    np.testing.assert_allclose(members_of(found, 2)[1], model.predict_proba(vectors.astype(float)), atol=1e-4)


def test_the_measures_are_those_of_scipy() -> None:
    table, _, _ = planted()
    found = run(Committee(members=4, keep_members=True, seed=1), table)
    p = members_of(found, 4)
    mean = p.mean(axis=0)
    kl = np.mean([scipy.stats.entropy(one, mean, axis=1) for one in p], axis=0)
    np.testing.assert_allclose(found["mean_kl"].to_numpy(), kl, atol=1e-5)
    votes = p.argmax(axis=2)
    shares = np.stack([(votes == i).mean(axis=0) for i in range(3)], axis=1)
    np.testing.assert_allclose(
        found["vote_entropy"].to_numpy(), scipy.stats.entropy(shares, axis=1), atol=1e-6
    )
    np.testing.assert_allclose(np.array(found["probabilities"].to_pylist()), mean, atol=1e-6)
    np.testing.assert_allclose(found["entropy"].to_numpy(), scipy.stats.entropy(mean, axis=1), atol=1e-5)
    assert (found["entropy"].to_numpy() >= found["mean_kl"].to_numpy() - 1e-6).all()


def test_votes_by_hand() -> None:
    """Of four members two vote for the first class, one for each other: 1/2 ln 2 + 2 * 1/4 ln 4."""
    p = np.log([[[0.6, 0.3, 0.1]], [[0.5, 0.2, 0.3]], [[0.1, 0.8, 0.1]], [[0.2, 0.2, 0.6]]])
    assert vote_entropy(p)[0] == pytest.approx(1.5 * np.log(2), abs=1e-12)
    assert vote_entropy(p[:2]).tolist() == [0]
    np.testing.assert_allclose(np.exp(consensus(p))[0], [0.35, 0.375, 0.275])


@settings(max_examples=20)
@given(st.integers(2, 6), st.integers(1, 5), st.integers(0, 10**6))
def test_votes_have_at_most_the_entropy_of_all_different_ones(members: int, classes: int, seed: int) -> None:
    log_p = log_softmax(np.random.default_rng(seed).normal(size=(members, 3, classes)) * 9)
    found = vote_entropy(log_p)
    assert (found >= 0).all()
    assert (found <= np.log(min(members, classes)) + 1e-12).all()


def test_counts_are_poisson_numbers() -> None:
    key = mix64(np.arange(100_000, dtype=np.uint64))
    found = np.bincount(counts(3, 0, key).astype(int)) / 1e5
    np.testing.assert_allclose(found[:6], scipy.stats.poisson(1).pmf(np.arange(6)), atol=0.005)
    assert abs(np.corrcoef(counts(3, 0, key), counts(3, 1, key))[0, 1]) < 0.02
    np.testing.assert_array_equal(counts(3, 2, key)[:10], counts(3, 2, key[:10]))


def test_exponential_weights_leave_no_label_out() -> None:
    weight = exponentials(3, 0, mix64(np.arange(100_000, dtype=np.uint64)))
    assert scipy.stats.kstest(weight, "expon").pvalue > 0.01
    table, _, _ = planted(60)
    rare = table.set_column(1, "label", pa.array(["a", "b"] * 29 + ["rare", None]))
    assert (members_of(run(Committee(members=8, keep_members=True, seed=1), rare), 8) > 0).all()


def test_a_weight_of_zero_is_a_row_that_is_not_there() -> None:
    _, vectors, label = planted(60)
    weight = np.r_[np.ones(40), np.zeros(20)]
    with_it = fit_head(vectors, label, 3, False, 1.0, weight)
    without = fit_head(vectors[:40], label[:40], 3, False, 1.0)
    np.testing.assert_allclose(with_it.coef, without.coef, atol=1e-4)


def test_the_order_and_the_cut_of_the_rows_do_not_matter() -> None:
    table, _, _ = planted(120)
    table = table.append_column("key", pa.array(mix64(np.arange(120, dtype=np.uint64))))
    order = np.random.default_rng(0).permutation(120)
    one = run(Committee(members=3, seed=2), table)
    other = run(Committee(members=3, seed=2), table.take(order), batch_rows=11)
    for name in ("mean_kl", "vote_entropy"):
        np.testing.assert_allclose(other[name].to_numpy(), one[name].to_numpy()[order], atol=1e-6)


def test_a_row_of_a_rare_label_and_rows_without_an_embedding() -> None:
    table, vectors, _ = planted(60)
    rare = table.set_column(1, "label", pa.array(["a", "b"] * 29 + ["rare", None]))
    found = members_of(run(Committee(members=8, bootstrap="poisson", keep_members=True, seed=1), rare), 8)
    weight = np.array([counts(1, member, mix64(np.array([58], np.uint64)))[0] for member in range(8)])
    assert ((found[:, :, 2] == 0).all(axis=1) == (weight == 0)).all()
    lists = pa.array([None, [], [np.nan] * 5, [1e30] * 5, *vectors[4:]], pa.list_(pa.float32()))
    odd = run(Committee(members=2, keep_members=True, seed=1), table.set_column(0, "embedding", lists))
    for column in odd.columns:
        assert column[:4].null_count == column.null_count == 4


def test_one_label_and_none() -> None:
    table, _, _ = planted(30)
    one = run(Committee(members=2, seed=1), table.set_column(1, "label", pa.array(["a"] + [None] * 29)))
    assert one["probabilities"].to_pylist() == [[1.0]] * 30
    assert set(one["mean_kl"].to_pylist()) == set(one["vote_entropy"].to_pylist()) == {0.0}
    none = run(Committee(keep_members=True), table.set_column(1, "label", pa.nulls(30, pa.string())))
    assert all(column.null_count == 30 for column in none.columns)
    assert run(Committee(), table.slice(0, 0)).num_rows == 0
