"""Maximal marginal relevance against its definition, step by step."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from choosing import pool_of, ranked
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run
from sklearn.metrics.pairwise import cosine_similarity

from gpu_ops.mmr import Mmr, _scaled


def plain(x: np.ndarray, score: np.ndarray, k: int, balance: float, taken: list[int]) -> list[int]:
    cosine, chosen = cosine_similarity(x.astype(float)), list(taken)
    for _ in range(k):
        rest = [i for i in range(len(x)) if i not in chosen]
        marginal = {i: balance * score[i] - (1 - balance) * max(cosine[i, chosen], default=0) for i in rest}
        chosen.append(max(rest, key=marginal.__getitem__))
    return chosen[len(taken) :]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(8, 40), st.integers(1, 8), st.floats(0.05, 1), st.integers(0, 2))
def test_the_choice_is_that_of_the_definition(seed: int, n: int, k: int, balance: float, before: int) -> None:
    rng = np.random.default_rng(seed)
    x, score = rng.normal(size=(n, 4)).astype(np.float32), rng.random(n)
    taken = sorted(rng.permutation(n)[:before].tolist())
    k = min(k, n - before)
    columns = {"score": score, "label": pa.array([1 if i in taken else None for i in range(n)], pa.int64())}
    op = Mmr(relevance="score", keep_rows=k, balance=balance, scale="none", labelled="label")
    found = run(op, pool_of(x, **columns))
    assert ranked(found) == plain(x, score, k, balance, taken)
    assert found["weight"].drop_null().to_numpy().sum() == n - before


def test_balance_1_is_the_top_of_the_score_and_0_is_as_unlike_as_can_be() -> None:
    x = np.array([[1, 0], [1, 0.01], [0, 1], [-1, 0]])
    table = pool_of(x, score=[9.0, 8, 7, 1])
    assert ranked(run(Mmr(relevance="score", keep_rows=3, balance=1), table)) == [0, 1, 2]
    assert ranked(run(Mmr(relevance="score", keep_rows=2, balance=0), table)) == [0, 3]


def test_scales() -> None:
    score = np.array([3.0, 1, 1, 1e308, -1e308])
    assert _scaled(score, "none").tolist() == score.tolist()
    assert _scaled(score, "rank").tolist() == pytest.approx([2 / 3, 1 / 3, 1 / 3, 1, 0])
    assert _scaled(score, "range").tolist() == [0.5, 0.5, 0.5, 1, 0]
    assert _scaled(np.array([4.0, 4]), "range").tolist() == [0, 0]


def test_rows_without_a_finite_score_cannot_be_compared_and_copies_fill_the_budget() -> None:
    table = pool_of(np.ones((4, 2)), score=[1.0, None, float("inf"), 2])
    found = run(Mmr(relevance="score", keep_rows=5), table)
    assert ranked(found) == [3, 0]
    assert found["drop"].to_pylist() == [None, "not_comparable", "not_comparable", None]
    assert found["weight"].to_pylist() == [1, None, None, 1]
    assert run(Mmr(relevance="score", keep_rows=5), pool_of(np.zeros((0, 2)), score=[])).num_rows == 0


@pytest.mark.parametrize("cut", [[1], [0, 0, 7, 20]])
def test_any_cut_gives_the_same(cut: list[int]) -> None:
    rng = np.random.default_rng(1)
    table = pool_of(rng.normal(size=(30, 3)), score=rng.random(30), part=np.arange(30) % 2)
    op = Mmr(relevance="score", keep_share=0.3, group="part", scale="rank")
    assert run(op, table, cut=cut).equals(run(op, table))
