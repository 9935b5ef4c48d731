"""MAP-D: the planted wrong labels it finds, its losses against a training written out, and hostile rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from memory_engine import World, run, run_shape
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from gpu_ops.kernels.trajectories import BATCH, other_label, rate_of, trajectories
from gpu_ops.map_d import MapD, _noise, _Probes
from operators.kernels.counter import mix64, uniform


def planted(
    n: int = 1500, classes: int = 3, wrong: float = 0.1, seed: int = 0
) -> tuple[pa.Table, np.ndarray]:
    """Embeddings around one centre for each class, some rows with another class's label."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, n)
    x = (rng.normal(size=(n, 8)) + 2.5 * np.eye(8)[label]).astype(np.float32)
    flipped = rng.random(n) < wrong
    given = np.where(flipped, (label + rng.integers(1, classes, n)) % classes, label)
    return pa.table({"embedding": pa.array(list(x), pa.list_(pa.float32())), "label": given}), flipped


def test_wrong_labels_are_found() -> None:
    table, flipped = planted()
    found = run(MapD(seed=1), table)
    assert roc_auc_score(flipped, found["p_noisy"].to_numpy()) >= 0.9
    suspect = found["suspect"].to_numpy()
    assert flipped[suspect].mean() >= 0.6
    assert suspect[flipped].mean() >= 0.5
    shares = sum(found[name].to_numpy() for name in ("p_typical", "p_noisy", "p_odd"))
    np.testing.assert_allclose(shares, 1, atol=1e-6)
    shuffled = np.random.default_rng(0).permutation(flipped)  # the control
    assert 0.4 < roc_auc_score(shuffled, found["p_noisy"].to_numpy()) < 0.6


def softmax_by_adam(
    x: np.ndarray, label: np.ndarray, epochs: int, w: np.ndarray, b: np.ndarray
) -> np.ndarray:
    """Full-batch Adam with the L2 term of scikit-learn, written out."""
    n, target = len(x), np.eye(w.shape[1])[label]
    state = [[p, np.zeros_like(p), np.zeros_like(p)] for p in (w, b)]
    losses = []
    for step in range(1, epochs + 1):
        logits = x @ state[0][0] + state[1][0]
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        error = (p / p.sum(axis=1, keepdims=True) - target) / n
        for one, g in zip(state, (x.T @ error + 1e-4 * state[0][0] / n, error.sum(axis=0)), strict=True):
            one[1] = 0.9 * one[1] + 0.1 * g
            one[2] = 0.999 * one[2] + 0.001 * g * g
            rate = rate_of(n, x.shape[1], epochs) * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            one[0] = one[0] - rate * one[1] / (np.sqrt(one[2]) + 1e-8)
        logits = x @ state[0][0] + state[1][0]
        norm = np.log(np.exp(logits).sum(axis=1))
        losses.append(norm - logits[np.arange(n), label])
    return np.stack(losses, axis=1)


def test_the_losses_are_those_of_adam_written_out() -> None:
    rng = np.random.default_rng(2)
    x, label = rng.normal(size=(BATCH, 4)).astype(np.float32), rng.integers(0, 3, BATCH)
    # scikit-learn's first weights: uniform within sqrt(6 / (inputs + outputs)), from its own random state.
    state = np.random.RandomState(5)
    bound = np.sqrt(6 / (4 + 3))
    w, b = state.uniform(-bound, bound, (4, 3)), state.uniform(-bound, bound, 3)
    want = softmax_by_adam(x.astype(float), label, 6, w, b)
    np.testing.assert_allclose(trajectories(x, label, 3, 6, 5), want, atol=1e-3)


@pytest.mark.parametrize("classes", [2, 4])
def test_losses_fall_for_right_labels_and_stay_for_wrong_ones(classes: int) -> None:
    table, flipped = planted(600, classes)
    x = np.array(table["embedding"].to_pylist(), np.float32)
    found = trajectories(x, np.asarray(table["label"]), classes, 8, 0)
    assert found.shape == (600, 8)
    assert found[~flipped, -1].mean() < 0.8 * found[~flipped, 0].mean()
    assert found[flipped, -1].mean() > found[flipped, 0].mean()
    assert not trajectories(x, np.zeros(600, int), classes, 3, 0).any()


def test_the_shares_are_those_of_scikit_learns_neighbours() -> None:
    table, _ = planted(200)
    x, label = np.array(table["embedding"].to_pylist(), np.float32), np.asarray(table["label"])
    key = mix64(np.arange(200, dtype=np.uint64))
    probes = _Probes(np.arange(0, 9), np.arange(9, 18), np.arange(18, 27))
    op = MapD(neighbours=5, seed=4)
    got = op._judged(x, label, 3, key, probes)
    changed, vectors = label.copy(), x.copy()
    np.testing.assert_allclose(got[:, :3].sum(axis=1), 1)
    assert (changed == label).all()
    assert (vectors == x).all()

    changed[9:18] = other_label(label[9:18], uniform(op._seed(2), key[9:18]), 3)
    vectors[18:27] = _noise(op._seed(3), key[18:27], 8)
    losses = trajectories(vectors, changed, 3, 10, op._seed(4) & 0xFFFFFFFF)
    near = (
        NearestNeighbors(n_neighbors=5)
        .fit(losses[:27].astype(float))
        .kneighbors(losses, return_distance=False)
    )
    want = np.stack([(near // 9 == i).mean(axis=1) for i in range(3)], axis=1)
    assert np.abs(got[:, :3] - want).max(axis=1).mean() < 0.01  # equal distances may differ
    np.testing.assert_allclose(got[:, 3], losses.mean(axis=1), rtol=1e-6)


@given(
    arrays(np.int64, 30, elements=st.integers(0, 4)), arrays(np.float64, 30, elements=st.floats(0.001, 0.999))
)
def test_another_label_is_another_one(label: np.ndarray, share: np.ndarray) -> None:
    found = other_label(label, share, 5)
    assert (found != label).all()
    assert ((found >= 0) & (found < 5)).all()


def test_noise_is_normal_and_each_row_has_its_own() -> None:
    key = mix64(np.arange(2000, dtype=np.uint64))
    found = _noise(3, key, 6)
    assert abs(found.mean()) < 0.02
    assert abs(found.std() - 1) < 0.02
    assert np.abs(np.corrcoef(found.T) - np.eye(6)).max() < 0.1
    np.testing.assert_array_equal(_noise(3, key[7:9], 6), found[7:9])


def test_the_order_and_the_cut_of_the_rows_do_not_matter() -> None:
    table, _ = planted(200)
    table = table.append_column("key", pa.array(mix64(np.arange(200, dtype=np.uint64))))
    op = MapD(epochs=3, seed=2)
    one = run(op, table)
    order = np.random.default_rng(0).permutation(200)
    other = run(op, table.take(order), batch_rows=17)
    for name in ("p_noisy", "p_odd", "suspect"):
        assert other[name].to_pylist() == one[name].take(order).to_pylist()
    assert run(MapD(epochs=3, seed=3), table)["p_noisy"] != one["p_noisy"]


def test_rows_without_label_or_embedding_and_too_few_rows() -> None:
    table, _ = planted(100)
    lists, labels = table["embedding"].to_pylist(), table["label"].to_pylist()
    lists[3], lists[4], lists[5], labels[6] = None, [], [float("nan")] * 8, None
    odd = pa.table({"embedding": pa.array(lists, pa.list_(pa.float32())), "label": pa.array(labels)})
    found = run(MapD(epochs=2, seed=1), odd)
    for column in found.columns:
        assert column[3:7].null_count == column.null_count == 4
    for few in (table.slice(0, 0), table.slice(0, 1), table.slice(0, 19)):
        assert all(column.null_count == few.num_rows for column in run(MapD(), few).columns)
    same = table.set_column(1, "label", pa.array(["a"] * 100))
    assert run(MapD(), same)["suspect"].null_count == 100


def test_it_tells_how_many_are_suspect() -> None:
    table, _ = planted(300)
    op = MapD(epochs=5, seed=1)
    world = World(table, 1000, None)
    run_shape(world, "face", op, world.batches(op), {})
    count = sum(run(op, table)["suspect"].to_pylist())
    assert op.tell(world.artifacts["face"]).startswith(f"{count} of 300 labels are suspect")
    assert "nothing to judge" in op.tell({"uid": np.zeros(0)})
