"""BADGE against its gradients written out, against autograd, and what its choice is made of."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from choosing import ranked
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run
from torch.nn.functional import cross_entropy

from gpu_ops.badge import Badge, residuals
from gpu_ops.kernels.greedy import Dense, Factored, k_means_plus_plus
from operators.kernels.counter import mix64


def case(n: int, classes: int, d: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(classes), n).astype(np.float32)
    return p, rng.normal(size=(n, d)).astype(np.float32)


def table_of(p: np.ndarray, h: np.ndarray, **columns: list) -> pa.Table:
    floats = pa.list_(pa.float32())
    return pa.table(
        {"embedding": pa.array(list(h), floats), "probabilities": pa.array(list(p), floats), **columns}
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(2, 5), st.integers(1, 6), st.integers(1, 12))
def test_the_choice_is_that_of_gradients_written_out(seed: int, n: int, classes: int, d: int, k: int) -> None:
    p, h = case(n, classes, d, seed)
    found = ranked(run(Badge(keep_rows=k, seed=seed), table_of(p, h)))
    g = (residuals(p)[:, :, None].astype(np.float64) * h[:, None, :]).reshape(n, classes * d)
    key = mix64(np.arange(n, dtype=np.uint64))
    first = int((g * g).sum(axis=1).argmax())
    want = k_means_plus_plus(Dense(g), min(k, n), key, seed, first=first, weight=np.ones(n))
    assert found == want.index.tolist()
    np.testing.assert_allclose(Factored(residuals(p), h).square_norms, (g * g).sum(axis=1), rtol=1e-6)


def test_a_gradient_is_that_of_autograd() -> None:
    rng = np.random.default_rng(0)
    weight = torch.tensor(rng.normal(size=(3, 4)), requires_grad=True)
    h = torch.tensor(rng.normal(size=(1, 4)))
    logits = h @ weight.T
    cross_entropy(logits, logits.argmax(1)).backward()
    ours = residuals(logits.softmax(1).detach().numpy().astype(np.float32))
    assert weight.grad is not None
    np.testing.assert_allclose(np.outer(ours, h.numpy()), weight.grad.numpy(), atol=1e-6)


def test_a_sure_row_keeps_the_digits_of_its_gradient() -> None:
    p = np.array([[1.0, 3e-12, 1e-12]], np.float32)
    np.testing.assert_allclose(residuals(p), [[-4e-12, 3e-12, 1e-12]], rtol=1e-6)


def test_sure_rows_and_copies_come_last() -> None:
    p = np.array([[0.5, 0.5]] * 3 + [[1.0, 0.0]] * 4 + [[0.5, 0.5]], np.float32)
    h = np.array([[1.0, 0], [1, 0], [1, 0], [9, 9], [8, 1], [1, 7], [2, 2], [-1, 0]], np.float32)
    for seed in range(5):
        found = run(Badge(keep_rows=3, seed=seed), table_of(p, h))
        chosen = ranked(found)
        # All sure rows have the gradient 0: one of them stands for all.
        assert {chosen[0], chosen[1], chosen[2]} & {3, 4, 5, 6}
        assert len(set(chosen) & {0, 1, 2}) == 1
        assert 7 in chosen
        assert sorted(found["weight"].drop_null().to_pylist()) == [1, 3, 4]
    assert len(ranked(run(Badge(keep_rows=8, seed=0), table_of(p, h)))) == 8


def test_rows_chosen_before_are_not_chosen_again_and_do_not_count() -> None:
    p, h = case(30, 3, 4, 5)
    marks = [True] * 10 + [None] * 10 + [False] * 10
    found = run(Badge(keep_rows=6, seed=1, labelled="mine"), table_of(p, h, mine=marks))
    alone = run(Badge(keep_rows=6, seed=1), table_of(p, h, uid=list(range(30))).slice(10))
    assert ranked(found) == [10 + row for row in ranked(alone)]
    assert found["weight"].drop_null().to_pylist() == alone["weight"].drop_null().to_pylist()
    assert found["drop"].to_pylist()[:10] == [None] * 10


def test_what_is_no_distribution_is_told_apart() -> None:
    p = np.array([[0.5, 0.5], [-1, 2], [0, 0], [np.nan, 1], [3, 1], [0.4, 0.6]], np.float32)
    found = run(Badge(keep_rows=2, seed=0), table_of(p, np.ones((6, 2), np.float32)))
    assert found["drop"].to_pylist()[1:4] == ["not_comparable"] * 3
    assert ranked(found)[0] == 0


def test_the_order_and_the_cut_of_the_rows_do_not_matter() -> None:
    p, h = case(50, 4, 3, 8)
    key = mix64(np.arange(50, dtype=np.uint64))
    one = ranked(run(Badge(keep_rows=9, seed=3), table_of(p, h, key=key)))
    assert ranked(run(Badge(keep_rows=9, seed=3), table_of(p, h, key=key), cut=[0, 3, 3, 20])) == one
    order = np.random.default_rng(0).permutation(50)
    other = ranked(run(Badge(keep_rows=9, seed=3), table_of(p[order], h[order], key=key[order])))
    assert order[other].tolist() == one
    assert ranked(run(Badge(keep_rows=9, seed=4), table_of(p, h, key=key))) != one


@pytest.mark.parametrize("rows", [0, 1])
def test_nothing_and_a_single_row(rows: int) -> None:
    p, h = case(1, 2, 2, 0)
    assert ranked(run(Badge(keep_rows=3), table_of(p, h).slice(0, rows))) == list(range(rows))
