"""vote-k against the plain algorithm of its authors, with the second stage as it was meant."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest
from choosing import pool_of, ranked
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run
from sklearn.metrics.pairwise import cosine_similarity

from gpu_ops.vote_k import VoteK

Votes = dict[int, list[int]]


def plain_votes(x: np.ndarray, k: int) -> Votes:
    """Who votes for whom, one row after the other, as the authors count."""
    votes: Votes = defaultdict(list)
    for i in range(len(x)):
        for near in np.argsort(cosine_similarity(x, x[i : i + 1])[:, 0]).tolist()[-k - 1 : -1]:
            if near != i:
                votes[near].append(i)
    return votes


def plain_first(votes: Votes, k: int, before: list[int]) -> list[int]:
    """`fast_votek`, its scores and ties; it repeats rows once no vote is left."""
    ordered = sorted(votes.items(), key=lambda item: len(item[1]), reverse=True)
    chosen, times = list(before), defaultdict(int)
    for one in before:
        for voter in votes[one]:
            times[voter] += 1
    while len(chosen) < k + len(before):
        scores = defaultdict(int)
        for row, its in ordered:
            if row in chosen:
                scores[row] = -100
                continue
            for voter in its:
                if voter not in chosen:
                    scores[row] += 10 ** (-times[voter])
        one = max(scores.items(), key=lambda item: item[1])[0]
        chosen.append(one)
        for voter in votes[one]:
            times[voter] += 1
    return chosen[len(before) :]


def plain_second(
    votes: Votes, k: int, before: list[int], confidence: np.ndarray, mended: bool = True
) -> list[int]:
    """The second stage: buckets by confidence, the least confident first."""
    chosen, times, n = list(before), defaultdict(int), len(confidence)
    for one in before:
        for voter in votes[one]:
            times[voter] += 1
    order = [row for row in np.argsort(confidence, kind="stable").tolist() if row not in before]
    size = int(n * 0.9 / k)
    for bucket in range(k):
        scores: dict[int, float] = {}
        for row in order[bucket * size : (bucket + 1) * size]:
            scores[row] = sum([10 ** (-times[v]) for v in votes[row] if v not in chosen])
        one = max(scores.items(), key=lambda item: item[1])[0]
        chosen.append(one)
        if mended:
            for voter in votes[one]:
                times[voter] += 1
    return chosen[len(before) :]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(12, 60), st.integers(1, 9), st.integers(1, 8), st.integers(0, 3))
def test_the_choice_is_that_of_the_authors(seed: int, n: int, near: int, k: int, before: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5)).astype(np.float32)
    taken = rng.permutation(n)[:before].tolist()
    label = pa.array([i if i in taken else None for i in range(n)], pa.int64())
    found = ranked(run(VoteK(keep_rows=k, neighbours=near, labelled="label"), pool_of(x, label=label)))
    want = plain_first(plain_votes(x.astype(float), near), k, taken)
    told = next((at for at, row in enumerate(want) if row in [*taken, *want[:at]]), k)  # no votes are left
    assert found[:told] == want[:told]
    assert len(set(found)) == k


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(40, 80), st.integers(10, 25))
def test_the_second_stage_is_that_of_the_authors_with_the_discount(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    x, confidence = rng.normal(size=(n, 4)).astype(np.float32), rng.integers(0, 20, n) / 20
    votes = plain_votes(x.astype(float), 6)
    first = plain_first(votes, k // 10, [])
    table = pool_of(x, sure=confidence)
    found = ranked(run(VoteK(keep_rows=k, neighbours=6, confidence="sure"), table))
    assert found == first + plain_second(votes, k - len(first), first, confidence)
    label = pa.array([1 if i in first else None for i in range(n)], pa.int64())
    op = VoteK(keep_rows=k - len(first), neighbours=6, confidence="sure", labelled="label")
    again = ranked(run(op, table.append_column("label", label)))
    assert again == found[len(first) :]


def test_the_discount_changes_the_second_stage() -> None:
    rng = np.random.default_rng(1)
    x, confidence = rng.normal(size=(120, 3)).astype(np.float32), rng.random(120)
    votes = plain_votes(x.astype(float), 10)
    first = plain_first(votes, 3, [])
    found = ranked(run(VoteK(keep_rows=30, neighbours=10, confidence="sure"), pool_of(x, sure=confidence)))
    assert found[:3] == first
    assert found[3:] == plain_second(votes, 27, first, confidence)
    assert found[3:] != plain_second(votes, 27, first, confidence, mended=False)


def test_weights_count_each_row_once_and_the_run_tells_how_many_are_reached() -> None:
    x = np.random.default_rng(2).normal(size=(200, 6))
    op = VoteK(keep_rows=12, neighbours=20)
    found = run(op, pool_of(x))
    weight = found["weight"].drop_null().to_numpy()
    assert (weight >= 1).all()
    assert weight.sum() <= 200
    nothing = {name: np.zeros(0) for name in ("uid", "rank", "weight", "apart", "before")}
    assert op.tell({"reached": weight.sum()[None], "free": np.array([200])}).startswith(f"{weight.sum() / 2}")
    assert op.tell(nothing) == "no row was chosen"


@pytest.mark.parametrize("k", [1, 59, 60])
def test_few_rows_and_all_rows(k: int) -> None:
    x = np.random.default_rng(3).normal(size=(60, 3))
    sure = np.arange(60.0)
    for confidence in (None, "sure"):
        found = ranked(run(VoteK(keep_rows=k, confidence=confidence), pool_of(x, sure=sure)))
        assert len(set(found)) == k
    one = run(VoteK(keep_rows=3), pool_of(np.ones((1, 3))))
    assert one["weight"].to_pylist() == [1.0]
    assert run(VoteK(keep_rows=3), pool_of(np.zeros((0, 3)))).num_rows == 0
    assert len(ranked(run(VoteK(keep_rows=2), pool_of(np.zeros((5, 3)))))) == 2
