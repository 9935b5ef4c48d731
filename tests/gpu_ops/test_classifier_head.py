"""classifier_head against scikit-learn, out of fold and in, and hostile rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from memory_engine import run
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gpu_ops.classifier_head import _STREAM, ClassifierHead
from gpu_ops.kernels.linear import fit_head
from operators.kernels.counter import mix64, uniform


def planted(n: int = 300, classes: int = 3, seed: int = 0) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Embeddings around one centre for each class; a third of the rows has no label."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, n)
    vectors = (rng.normal(size=(n, 6)) + 2 * np.eye(6)[label]).astype(np.float32)
    given = [f"class {i}" if one else None for i, one in zip(label, rng.random(n) < 2 / 3, strict=True)]
    lists = pa.array(list(vectors), pa.list_(pa.float32()))
    return pa.table({"embedding": lists, "label": given, "id": np.arange(n)}), vectors, label


def probabilities(found: pa.Table) -> np.ndarray:
    return np.array(found["probabilities"].to_pylist())


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("standardise", [True, False])
def test_without_folds_it_is_scikit_learns(classes, standardise):
    table, vectors, label = planted(classes=classes)
    op = ClassifierHead(folds=None, standardise=standardise, regularisation=0.5)
    found = run(op, table)
    have = np.array(table["label"].is_valid())
    model = LogisticRegression(C=2.0, max_iter=5000, tol=1e-9)
    model = make_pipeline(StandardScaler(), model) if standardise else model
    wide = vectors.astype(np.float64)
    want = model.fit(wide[have], label[have]).predict_proba(wide)
    np.testing.assert_allclose(probabilities(found), want, atol=1e-4)
    assert found["predicted"].to_pylist() == [f"class {i}" for i in want.argmax(1)]
    loss = np.array(found["loss"].to_pylist(), float)
    np.testing.assert_allclose(loss[have], -np.log(want[have, label[have]]), atol=1e-3)
    el2n = np.array(found["el2n"].to_pylist(), float)
    np.testing.assert_allclose(
        el2n[have], np.linalg.norm(want - np.eye(classes)[label], axis=1)[have], atol=1e-3
    )
    assert np.isnan(loss[~have]).all()


def test_labelled_rows_are_scored_by_a_model_that_has_not_seen_them():
    table, vectors, label = planted()
    found = run(ClassifierHead(folds=4, seed=7), table)
    fold = (uniform(7 ^ _STREAM, mix64(np.arange(len(label), dtype=np.uint64))) * 4).astype(int)
    assert len(set(fold)) == 4
    have = np.array(table["label"].is_valid())
    got, wide = probabilities(found), vectors.astype(np.float64)
    for number in range(4):
        train, test = have & (fold != number), have & (fold == number)
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000, tol=1e-9))
        np.testing.assert_allclose(
            got[test], model.fit(wide[train], label[train]).predict_proba(wide[test]), atol=1e-4
        )


def test_wrong_labels_have_the_highest_out_of_fold_loss():
    table, _, label = planted(600)
    given = np.array([f"class {i}" for i in label], object)
    wrong = np.random.default_rng(1).permutation(600)[:40]
    given[wrong] = [f"class {(i + 1) % 3}" for i in label[wrong]]
    found = run(ClassifierHead(seed=1), table.set_column(1, "label", pa.array(given)))
    worst = np.argsort(-np.array(found["loss"].to_pylist()))[:40]
    assert len(set(worst) & set(wrong)) >= 26


def test_the_order_and_cut_of_the_rows_do_not_matter():
    table, _, _ = planted(120)
    op = ClassifierHead(seed=2)
    batches = with_engine_columns(table).to_batches(max_chunksize=7)
    one = op.fit(iter(batches), "cpu", {})
    other = op.fit(iter(batches[::-1]), "cpu", {})
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def with_engine_columns(table: pa.Table) -> pa.Table:
    n = table.num_rows
    return table.append_column("uid", pa.array(np.arange(n))).append_column(
        "key", pa.array(mix64(np.arange(n, dtype=np.uint64)))
    )


def test_rare_labels_and_few_of_them():
    table, _, _ = planted(60)
    rare = table.set_column(1, "label", pa.array(["a", "b"] * 29 + ["rare", None]))
    found = run(ClassifierHead(seed=1), rare)
    assert found["p_label"][58].as_py() == 0
    assert found["loss"][58].as_py() == float("inf")
    assert len(found["probabilities"][0].as_py()) == 3
    one = run(ClassifierHead(folds=None), table.set_column(1, "label", pa.array(["a"] * 5 + [None] * 55)))
    assert one["probabilities"].to_pylist() == [[1.0]] * 60
    none = run(ClassifierHead(), table.set_column(1, "label", pa.nulls(60, pa.string())))
    assert none["predicted"].null_count == none["margin"].null_count == 60


def test_rows_without_a_usable_embedding_have_nulls_and_do_not_count():
    table, vectors, _ = planted(90)
    odd = [None, [], [np.nan] * 6, [1e30] * 6]
    lists = pa.array([*odd, *vectors[4:]], pa.list_(pa.float32()))
    found = run(ClassifierHead(folds=None), table.set_column(0, "embedding", lists))
    assert found["probabilities"].null_count == 4
    assert found["predicted"][:4].null_count == found["loss"][:4].null_count == 4
    alone = run(ClassifierHead(folds=None), table.slice(4))
    np.testing.assert_allclose(probabilities(found.slice(4)), probabilities(alone), atol=1e-5)


def test_embeddings_of_another_length_are_refused():
    table, vectors, _ = planted(40)
    lists = pa.array([*vectors[:30], *vectors[30:, :4]], pa.list_(pa.float32()))
    with pytest.raises(ValueError, match="embed all rows with one model"):
        run(ClassifierHead(), table.set_column(0, "embedding", lists))
    head = fit_head(vectors[:, :4], np.arange(40) % 2, 2, True, 1.0)
    with pytest.raises(ValueError, match="have 6 numbers, but the head was fitted to 4"):
        head.log_probabilities(vectors)
