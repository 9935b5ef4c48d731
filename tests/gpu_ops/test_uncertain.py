"""uncertain: which end of each measure is unsure, against a sort and against classifier_head."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
from choosing import ranked
from hypothesis import given
from hypothesis import strategies as st
from memory_engine import run
from pydantic import ValidationError

from gpu_ops.classifier_head import ClassifierHead
from gpu_ops.uncertain import Uncertain
from operators.kernels.counter import mix64


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30, unique=True), st.integers(1, 30))
def test_the_choice_is_the_end_of_a_sort(numbers: list[int], k: int) -> None:
    values = np.array(numbers) / 1e6
    ascending = np.argsort(values)[:k].tolist()
    descending = np.argsort(-values)[:k].tolist()
    assert ranked(run(Uncertain(keep_rows=k), pa.table({"margin": values}))) == ascending
    for by in ("entropy", "least_confidence", "bald", "vote_entropy", "mean_kl"):
        assert ranked(run(Uncertain(by=by, keep_rows=k), pa.table({by: values}))) == descending
    own: dict[str, Any] = {"by": "column", "column": "x", "keep_rows": k}
    assert ranked(run(Uncertain(**own), pa.table({"x": values}))) == descending
    assert ranked(run(Uncertain(**own, descending=False), pa.table({"x": values}))) == ascending


def test_all_measures_take_the_row_between_the_classes() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 50)
    x = rng.normal(size=(101, 2)) + 4 * np.r_[label, 0][:, None]
    x[100] = 2  # halfway
    given: list[str | None] = ["ab"[one] for one in label] + [None]
    table = pa.table({"embedding": pa.array(list(x), pa.list_(pa.float64())), "label": given})
    scores = run(ClassifierHead(folds=None), table)
    p = np.array(scores["probabilities"].to_pylist())
    entropy = scipy.stats.entropy(p, axis=1)
    for by in ("margin", "entropy", "least_confidence"):
        chosen = ranked(run(Uncertain(by=by, keep_rows=4), scores))
        assert 100 in chosen
        assert sorted(chosen) == sorted(np.argsort(-entropy)[:4].tolist())


def test_the_order_of_equal_rows_is_random_and_does_not_depend_on_their_place() -> None:
    key = mix64(np.arange(200, dtype=np.uint64))
    votes = pa.table({"vote_entropy": np.r_[np.zeros(100), np.ones(100)], "key": key})
    op = Uncertain(by="vote_entropy", keep_rows=20, seed=1)
    one = ranked(run(op, votes))
    assert min(one) >= 100
    assert 120 <= np.mean(one) <= 180
    order = np.random.default_rng(1).permutation(200)
    other = ranked(run(op, votes.take(order), batch_rows=7))
    assert order[other].tolist() == one
    assert ranked(run(Uncertain(by="vote_entropy", keep_rows=20, seed=2), votes)) != one


def test_an_adaptive_threshold_is_a_budget_by_class() -> None:
    rng = np.random.default_rng(2)
    predicted = np.repeat(["easy", "hard"], [300, 100])
    margin = np.where(predicted == "easy", rng.uniform(0.5, 1, 400), rng.uniform(0, 0.5, 400))
    table = pa.table({"margin": margin, "predicted": predicted})
    alone = ranked(run(Uncertain(keep_share=0.1), table))
    assert set(predicted[alone]) == {"hard"}
    found = ranked(run(Uncertain(keep_share=0.1, group="predicted"), table))
    for name, rows in (("easy", 30), ("hard", 10)):
        mine = [row for row in found if predicted[row] == name]
        threshold = np.sort(margin[predicted == name])[rows]
        assert len(mine) == rows
        assert (margin[mine] < threshold).all()


def test_rows_chosen_before_and_rows_without_a_number() -> None:
    table = pa.table({"margin": [0.1, None, 0.2, float("nan"), 0.3], "mine": [True, None, None, None, None]})
    found = run(Uncertain(keep_rows=1, labelled="mine"), table)
    assert found["drop"].to_pylist() == [None, "not_comparable", None, "not_comparable", "not_selected"]
    assert found["rank"].to_pylist() == [None, None, 0, None, None]
    assert run(Uncertain(keep_rows=1), table.slice(0, 0)).num_rows == 0


def test_directions_are_told_where_they_are_not_known() -> None:
    with pytest.raises(ValidationError, match="by: column needs `column`"):
        Uncertain(by="column", keep_rows=1)
    with pytest.raises(ValidationError, match="which knows what is unsure"):
        Uncertain(by="margin", descending=True, keep_rows=1)
