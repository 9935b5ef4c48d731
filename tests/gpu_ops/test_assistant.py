"""The assistant finds what makes texts easy, keeps gamma of it, and weighs what stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import World, run
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import normalize

from gpu_ops.assistant import Assistant
from operators.kernels.ngram_rows import list_ngrams
from operators.kernels.ngrams import orders_wanted, reference_buckets
from operators.kernels.text_buffers import text_buffers

WORDS = ("grain", "stone", "dust", "sand", "mill", "sieve", "baker", "heap")


def corpus(rows: int, seed: int = 0) -> pa.Table:
    """Texts with the word `easy` have small losses; every fourth row was not scored."""
    luck = np.random.default_rng(seed)
    easy = luck.random(rows) < 0.3
    texts = [" ".join([*luck.choice(WORDS, 9), *(["easy"] if e else [])]) for e in easy]
    loss = np.where(easy, 0.5, 3.0) + luck.random(rows)
    return pa.table({"text": texts, "loss": pa.array(loss, mask=np.arange(rows) % 4 == 0), "easy": easy})


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text("abAB0.é \n"), min_size=1, max_size=5), st.sampled_from([(1,), (1, 2), (2, 3)]))
def test_ngrams_of_each_text_equal_plain_python(texts: list[str], orders: tuple[int, ...]) -> None:
    data, starts, ends = text_buffers(pa.array(texts, pa.large_string()))
    offsets, grams = list_ngrams(data, starts, ends, orders_wanted(orders), 97)
    for row, text in enumerate(texts):
        mine = grams[offsets[row] : offsets[row + 1]].tolist()
        assert sorted(mine) == sorted(reference_buckets(text.encode(), orders, 97))


def test_easy_texts_go_and_gamma_of_them_stays() -> None:
    data = corpus(2000)
    out = run(Assistant(seed=1), data, batch_rows=300)
    easy, p = np.asarray(data["easy"].combine_chunks()).astype(bool), np.asarray(out["p_nontrivial"])
    assert roc_auc_score(~easy, p) > 0.99
    gone = np.array([reason == "trivial" for reason in out["drop"].to_pylist()])
    stays = 0.3 + 0.7 * p
    assert abs(gone.sum() - (1 - stays).sum()) < 4 * np.sqrt((stays * (1 - stays)).sum())
    weight = np.asarray(out["weight"].combine_chunks().fill_null(0.0))
    np.testing.assert_allclose(weight[~gone], 1 / stays[~gone])
    assert weight.sum() == pytest.approx(len(p), rel=0.1)


def test_equals_scikit_learn_on_the_same_features() -> None:
    data = corpus(400)
    texts = data["text"].to_pylist()
    counts = np.zeros((400, 256))
    for row, text in enumerate(texts):
        np.add.at(counts[row], reference_buckets(text.encode(), (1,), 256), 1)
    x, loss = normalize(np.log1p(counts)), np.array(data["loss"].to_pylist(), float)
    known = np.isfinite(loss)
    hard = loss > loss[known].mean() - loss[known].std()
    model = LogisticRegression(C=10, max_iter=1000).fit(x[known], hard[known])
    got = run(Assistant(ngrams=(1,), buckets=256, mark=True), data)
    assert got.column_names == ["p_nontrivial"]
    np.testing.assert_allclose(np.asarray(got["p_nontrivial"]), model.predict_proba(x)[:, 1], atol=2e-3)


def test_the_held_out_auc_is_told() -> None:
    world = World(corpus(2000), 500, None)
    world.execute("face", Assistant(seed=1), {})
    state = world.artifacts["face"]
    assert state["auc"].min() > 0.75
    assert "1,500 rows with a loss" in Assistant().tell(state)


@pytest.mark.parametrize(
    "losses", [[], [None], [1.0], [None, 2.0, float("nan")], [1.0] * 5, [float("inf")] * 2]
)
def test_without_a_difference_nothing_is_trivial(losses: list[Any]) -> None:
    texts: list[str | None] = ["a b", None, "", "c", "a"]
    data = pa.table({"text": texts[: len(losses)], "loss": pa.array(losses, pa.float64())})
    got = run(Assistant(), data.cast(pa.schema([("text", pa.string()), ("loss", pa.float64())])))
    assert got["p_nontrivial"].to_pylist() == [1.0] * len(losses)
    assert got["drop"].null_count == len(losses)
