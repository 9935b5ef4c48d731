"""The assistant finds what makes rows trivial (tokens, features, classes) and keeps gamma of that."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from selecting import again, rows_of

from gpu_ops.kernels.assistant import token_grams
from gpu_ops.trainer.batch import Batch
from gpu_ops.trainer.select.auto_assist import AutoAssist
from gpu_ops.trainer.select.selector import Scores


def assistant(**fields) -> AutoAssist:
    start = {"seed": 1, "gamma": 0.3, "orders": (1, 2), "buckets": 512, "rate": 0.5, "ring": 512, "warm": 64}
    return AutoAssist(**{**start, "weigh": False, **fields})


def rows(number: int, kind: str) -> tuple[Batch, np.ndarray]:
    """32 rows, and which of them are easy: by a token, by a feature, by the class."""
    luck = np.random.default_rng(number)
    easy = luck.random(32) < 0.3
    if kind == "tokens":
        inputs = luck.integers(10, 40, (32, 8))
        inputs[easy, 3] = 5
        return Batch(inputs, inputs, np.full(32, -1)), easy
    vectors = luck.normal(size=(32, 6)).astype(np.float32)
    vectors[:, 2] = np.where(easy & (kind == "features"), 4, vectors[:, 2])
    classes = np.where(easy, 1, 0) if kind == "classes" else luck.integers(0, 2, 32)
    return Batch(vectors, classes, np.arange(32)), easy


@pytest.mark.parametrize("kind", ["tokens", "features", "classes"])
def test_easy_rows_go_and_gamma_of_them_stays(kind) -> None:
    selector = assistant()
    for number in range(150):
        batch, easy = rows(number, kind)
        loss = np.where(easy, 0.1, 3.0) + 0.1 * np.random.default_rng(number + 1).random(32)
        selector.learn(batch, Scores(loss=loss))
    selector = again(selector, assistant())
    kept = {True: 0, False: 0}
    seen = {True: 0, False: 0}
    for number in range(200, 300):
        batch, easy = rows(number, kind)
        assert selector.wants(batch) == frozenset()
        found = selector.choose(batch, Scores(), 32, number)
        for one in (True, False):
            kept[one] += int((easy[found.index] == one).sum())
            seen[one] += int((easy == one).sum())
    assert kept[True] / seen[True] < 0.55
    assert kept[False] / seen[False] > 0.85
    assert found.told["auc"] > 0.6


def test_all_stay_until_it_has_learned_and_as_many_as_it_says_afterwards() -> None:
    selector = assistant()
    batch, _ = rows(0, "tokens")
    assert len(selector.choose(batch, Scores(), 32, 0).index) == 32
    for number in range(30):
        batch, _ = rows(number, "tokens")
        selector.learn(batch, Scores(loss=np.random.default_rng(number).random(32)))
    found = [selector.choose(batch, Scores(), 32, number) for number in range(200)]
    kept = sum(len(one.index) for one in found)
    assert binomtest(kept, 200 * 32, found[0].told["expected_kept"]).pvalue > 1e-3


def test_weighted_the_mean_is_that_of_all_rows() -> None:
    selector = assistant(weigh=True, gamma=0.2)
    for number in range(60):
        batch, easy = rows(number, "tokens")
        selector.learn(batch, Scores(loss=np.where(easy, 0.1, 3.0)))
    gradient = np.random.default_rng(9).normal(size=32) + 2
    found = [selector.choose(batch, Scores(), 32, number) for number in range(4000)]
    upper = np.array([(one.weight * gradient[one.index]).sum() for one in found])
    lower = np.array([one.targets.sum() / batch.targets.shape[1] for one in found])
    want = gradient.mean()
    errors = upper - want * lower
    assert abs(errors.mean()) < 3 * errors.std() / np.sqrt(len(errors))


def test_ngrams_of_tokens_equal_plain_python() -> None:
    ids = np.random.default_rng(0).integers(0, 5, (6, 7))
    lengths = np.array([7, 0, 1, 2, 6, 7])
    offsets, grams = token_grams(ids, lengths, (1, 3), 1 << 20)
    for r, row in enumerate(ids):
        mine = grams[offsets[r] : offsets[r + 1]].tolist()
        words = [tuple(row[i : i + n]) for n in (1, 3) for i in range(lengths[r] - n + 1)]
        assert len(mine) == len(words)
        assert len(set(mine)) == len(set(words))


def test_a_row_of_no_length_is_no_trouble() -> None:
    batch = rows_of(2, tokens=3)
    batch = Batch(batch.inputs, batch.targets, batch.rows, np.array([0, 3]))
    assert np.isfinite(assistant(warm=0).choose(batch, Scores(), 2, 0).told["p_nontrivial"])
