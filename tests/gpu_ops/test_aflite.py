"""AFLite: what it removes of planted artefacts, its bookkeeping against scikit-learn, and hostile rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from memory_engine import run
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression, RidgeClassifier

from gpu_ops.aflite import Aflite
from gpu_ops.kernels.linear import share_correct, standardised
from operators.kernels.counter import mix64


def planted(n: int = 1200, seed: int = 0) -> tuple[pa.Table, np.ndarray]:
    """Embeddings with a weak signal, and in 70 % of the rows one number that gives the label away."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    marked = rng.random(n) < 0.7
    vectors = rng.normal(size=(n, 12)).astype(np.float32)
    vectors[:, 0] += 0.8 * (2 * label - 1)
    vectors[:, 1] = marked * (2 * label - 1)
    lists = pa.array(list(vectors), pa.list_(pa.float32()))
    return pa.table({"embedding": lists, "label": label, "id": np.arange(n)}), marked


def kept(found: pa.Table) -> np.ndarray:
    return np.asarray(found["drop"].combine_chunks().is_null())


def test_the_share_of_a_planted_artefact_falls_by_a_fifth() -> None:
    table, marked = planted()
    found = run(Aflite(keep_rows=400, partitions=16, seed=1), table)
    stays = kept(found)
    assert stays.sum() == 400
    assert marked[stays].mean() <= 0.8 * marked.mean()
    random = np.random.default_rng(0).permutation(len(marked))[:400]
    assert marked[random].mean() > 0.9 * marked.mean()  # the control


@pytest.mark.parametrize(("kind", "oracle"), [("logistic", LogisticRegression), ("ridge", RidgeClassifier)])
def test_predictability_is_the_share_of_held_out_rows_that_are_right(kind: Any, oracle: Any) -> None:
    rng = np.random.default_rng(5)
    vectors, label = rng.normal(size=(60, 4)).astype(np.float32), rng.integers(0, 3, 60)
    trainings = [rng.permutation(60)[:25] for _ in range(7)]
    right: list[list[bool]] = [[] for _ in range(60)]
    for rows in trainings:
        model = oracle().fit(vectors[rows], label[rows])
        for row in set(range(60)) - set(rows.tolist()):
            right[row].append(model.predict(vectors[row : row + 1])[0] == label[row])
    want = [np.mean(one) if one else np.nan for one in right]
    np.testing.assert_allclose(share_correct(vectors, label, trainings, kind), want, rtol=1e-6)


def test_a_row_that_every_model_was_trained_on_has_no_predictability() -> None:
    label = np.array([0, 1, 0, 1])
    found = share_correct(np.eye(4, dtype=np.float32), label, [np.array([0, 1, 2])], "logistic")
    assert np.isnan(found[:3]).all()
    alone = share_correct(np.eye(4, dtype=np.float32), label, [np.array([0, 2])], "logistic")
    assert alone[[1, 3]].tolist() == [0, 0]  # it has seen the label 0 only, and says so


def test_rounds_take_slices_and_end_at_the_target_or_when_few_are_predictable() -> None:
    table, _ = planted(400)
    fields = {"partitions": 8, "slice_share": 0.1, "train_rows": 60, "seed": 2}
    found = run(Aflite(keep_rows=270, tau=0.0, **fields), table)
    sizes = np.bincount([n or 0 for n in found["round"].to_pylist()])
    assert sizes.tolist() == [270, 40, 40, 40, 10]
    high = run(Aflite(keep_rows=10, tau=0.9, **fields), table)
    sizes = np.bincount([n or 0 for n in high["round"].to_pylist()])
    assert (sizes[1:-1] == 40).all()
    assert sizes[-1] < 40
    gone = ~kept(high)
    assert (high["predictability"].to_numpy()[gone] >= 0.9).all()
    assert sizes[0] == kept(high).sum() > 10


def test_the_order_of_the_rows_does_not_matter() -> None:
    table, _ = planted(300)
    key = pa.array(mix64(np.arange(300, dtype=np.uint64)))
    table = table.append_column("key", key)
    order = np.random.default_rng(1).permutation(300)
    op = Aflite(partitions=6, seed=3)
    one, other = run(op, table), run(op, table.take(order), batch_rows=17)
    assert other["round"].to_pylist() == one["round"].take(order).to_pylist()
    assert set(run(Aflite(partitions=6, seed=4), table)["round"].to_pylist()) != {None}
    assert run(Aflite(partitions=6, seed=4), table)["round"] != one["round"]


def test_rows_without_label_or_embedding_take_no_part() -> None:
    table, _ = planted(200)
    lists, labels = (
        table["embedding"].to_pylist(),
        ["no" if one else "yes" for one in table["label"].to_pylist()],
    )
    lists[3], lists[4], lists[5] = None, [], [float("nan")] * 12
    labels[6] = None
    odd = pa.table({"embedding": pa.array(lists, pa.list_(pa.float32())), "label": labels})
    found = run(Aflite(keep_share=0.4, tau=0.0, partitions=4, seed=1), odd, 50)
    assert kept(found).sum() == round(0.4 * 196) + 4
    for column in ("drop", "predictability", "round"):
        assert found[column].to_pylist()[3:7] == [None] * 4


def test_one_label_and_few_rows() -> None:
    same = pa.table({"embedding": pa.array([[1.0, 2.0]] * 9, pa.list_(pa.float64())), "label": [1] * 9})
    found = run(Aflite(keep_rows=3, slice_share=1, partitions=9, train_rows=2, seed=1), same)
    assert kept(found).sum() == 3
    for rows in (0, 1, 2):
        assert len(run(Aflite(seed=1), same.slice(0, rows))) == rows


def test_embeddings_of_different_lengths_are_an_error() -> None:
    lists = pa.array([[1.0, 0.0], [1.0]], pa.list_(pa.float32()))
    for batch_rows in (1, 2):
        with pytest.raises(ValueError, match="has 1 numbers at uid 1, but 2"):
            run(Aflite(), pa.table({"embedding": lists, "label": [0, 1]}), batch_rows)


def test_standardised_columns() -> None:
    vectors = np.random.default_rng(0).normal(3, 5, size=(500, 3)).astype(np.float32)
    vectors[:, 2] = 7
    found = standardised(vectors)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=0), [1, 1, 0], atol=1e-5)


def test_two_sizes_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"keep_share = 0\.5 and keep_rows = 5"):
        Aflite(keep_share=0.5, keep_rows=5)
