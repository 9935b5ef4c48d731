"""adversarial_filter: from a discriminator that sees through trigrams to one at chance; hostile rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from memory_engine import run
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict

from gpu_ops.adversarial_filter import AdversarialFilter
from gpu_ops.kernels.endings import Game, features, first_choice, split
from operators.kernels.counter import mix64
from workflows.adversarial import column, questions, sentences

SAMPLE = Path(__file__).parents[2] / "configs/quickstart/sample"


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    """500 sentences of the quickstart's documents, each with 40 endings that trigrams wrote."""
    known = sentences(column(sorted(SAMPLE.glob("*.parquet")), "text"))
    return pa.Table.from_batches([questions(known[:5000], 500, 40)])


def outside_accuracy(rows: pa.Table, chosen: list[list[int] | None]) -> float:
    """Of scikit-learn's plain bag of words, across 5 folds of rows: how often the real one scores highest."""
    texts, groups = [], []
    for real, pool, places in zip(rows["ending"].to_pylist(), rows["pool"].to_pylist(), chosen, strict=True):
        if places is not None:
            groups += [len(texts) // 4] * 4
            texts += [real, *(pool[place] for place in places)]
    counts = CountVectorizer(ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]").fit_transform(texts)
    label = np.tile([1, 0, 0, 0], len(texts) // 4)
    model = LogisticRegression(class_weight="balanced", max_iter=200)
    how = {"groups": groups, "cv": GroupKFold(5), "method": "decision_function"}
    score = cross_val_predict(model, counts, label, **how).reshape(-1, 4)
    return float((score[:, 0] > score[:, 1:].max(axis=1)).mean())


@pytest.mark.slow
def test_the_discriminator_falls_to_chance(rows: pa.Table) -> None:
    random = run(AdversarialFilter(context="context", iterations=0, seed=1), rows)
    filtered = run(AdversarialFilter(context="context", seed=1), rows)
    before, after = (np.mean(found["solved"].drop_null().to_pylist()) for found in (random, filtered))
    assert before >= 0.4
    assert after <= 0.30
    outside = [outside_accuracy(rows, found["chosen"].to_pylist()) for found in (random, filtered)]
    assert outside[1] <= 0.75 * outside[0]


def test_what_is_chosen_comes_from_the_pool_and_is_never_the_ending(rows: pa.Table) -> None:
    found = run(AdversarialFilter(distractors=5, iterations=4, seed=2), rows.slice(0, 120), 17)
    for real, pool, places, texts in zip(
        rows["ending"].to_pylist()[:120],
        rows["pool"].to_pylist()[:120],
        found["chosen"].to_pylist(),
        found["distractors"].to_pylist(),
        strict=True,
    ):
        if places is None:
            assert len({*pool} - {real, ""}) < 5
            continue
        assert texts == [pool[place] for place in places]
        assert len(set(texts)) == 5
        assert not {real, ""} & set(texts)


def test_neither_cut_nor_order_matters(rows: pa.Table) -> None:
    few = rows.slice(0, 150)
    op = AdversarialFilter(iterations=2, seed=3)
    one = run(op, few)
    order = np.random.default_rng(0).permutation(150)
    other = run(op, few.take(order), batch_rows=7)
    assert other["chosen"].to_pylist() == one["chosen"].take(order).to_pylist()
    assert run(AdversarialFilter(iterations=2, seed=4), few)["chosen"] != one["chosen"]


def test_accuracy_is_booked_for_every_iteration(rows: pa.Table) -> None:
    batch = rows.slice(0, 200).combine_chunks().to_batches()[0]
    state = AdversarialFilter(iterations=4, distractors=1, train_share=0.5, seed=1).fit(
        iter([batch]), "cpu", {}
    )
    assert len(state["accuracy"]) == len(state["replaced"]) <= 4
    assert ((state["accuracy"] > 0.5) == (state["replaced"] > 0)).all()
    assert (state["replaced"] <= 100).all()  # one in each row that is held out


def test_rows_that_take_no_part() -> None:
    pool = ["one", "two", "three", "four"]
    table = pa.table(
        {
            "ending": pa.array(
                ["real", None, "real", "real", "real", "real", "two", "real"], pa.large_string()
            ),
            "pool": pa.array(
                [pool, pool, None, [], ["a", "a", "b", "", None], ["real", "x", "y"], pool, pool],
                pa.list_(pa.large_string()),
            ),
        }
    )
    found = run(AdversarialFilter(iterations=2, seed=1), table, 3)
    assert [one is not None for one in found["chosen"].to_pylist()] == [True] + [False] * 5 + [True] * 2
    assert found["chosen"].is_null().equals(found["solved"].is_null())
    assert sorted(found["distractors"].to_pylist()[6]) == ["four", "one", "three"]
    for number in (0, 1):
        assert run(AdversarialFilter(seed=1), table.slice(0, number))["chosen"].to_pylist() == [None] * number


def test_bytes_that_are_no_utf8_are_read() -> None:
    offsets = pa.py_buffer(np.array([0, 3, 6, 9, 12], np.int64))
    broken = pa.LargeStringArray.from_buffers(4, offsets, pa.py_buffer(b"a\xff.b\xfe.c\xfd.d\xfc."))
    pool = pa.array([["x", "y", "z"]] * 4, pa.list_(pa.large_string()))
    found = run(AdversarialFilter(iterations=1, seed=1), pa.table({"ending": broken, "pool": pool}))
    assert [sorted(texts) for texts in found["distractors"].to_pylist()] == [["x", "y", "z"]] * 4


def test_only_easy_ones_make_way_and_only_for_harder_ones_than_the_real_one() -> None:
    first, luck = np.array([0, 6, 12]), mix64(np.arange(2, dtype=np.uint64))
    score = np.array([5, 1, 9, 2, 7, 3, 5, 6, 7, 8, 9, 1.0])  # row 0: 2 and 4 are harder; row 1: 1 to 4
    game = Game(first, np.array([[1, 3, 2], [7, 8, 9]]), [])
    assert game.replace(score, np.array([0, 1]), luck, 2, 1) == 1
    assert sorted(game.chosen[0].tolist()) in ([1, 2, 4], [2, 3, 4])
    assert game.chosen[1].tolist() == [7, 8, 9]  # none was easy


def test_of_two_discriminators_the_better_one_decides() -> None:
    """Real endings end in another letter, which only character n-grams see."""
    rng = np.random.default_rng(0)
    names = ["".join(rng.choice(list("abcdefgh"), 9)) for _ in range(400)]
    texts = [name + ("x" if i % 4 == 0 else "y") for i, name in enumerate(names)]
    first, luck = np.arange(0, 401, 4), mix64(np.arange(100, dtype=np.uint64))
    train, right = split(luck, 0.8, 1), {}
    for kinds in (("words",), ("characters",), ("words", "characters")):
        game = Game(first, first_choice(first, 3, luck), [features(texts, kind) for kind in kinds])
        right[kinds] = game.play(train)[1][~train].mean()
    assert right["words",] < 0.6 < right["characters",] == right["words", "characters"]


def test_the_split_has_both_sides() -> None:
    for n in (2, 3, 50):
        luck = mix64(np.arange(n, dtype=np.uint64))
        assert split(luck, 0.99, 1).sum() == min(n - 1, round(0.99 * n))
        assert split(luck, 0.001, 1).sum() == 1
