"""The table of evaluation n-grams: every n-gram once, with its rows, however the file is cut."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_engine import World

from operators import evaluation_ngrams
from operators.contract import Artifact
from operators.evaluation_ngrams import MOST_ROWS, EvaluationNgrams

WORDS = st.lists(st.sampled_from("abcd"), max_size=9).map(" ".join)


def collected(op: EvaluationNgrams, batch_rows: int, **columns: list[str | None]) -> Artifact:
    texts = {name: pa.array(values, pa.large_string()) for name, values in columns.items()}
    world = World(pa.table(texts), batch_rows, None)
    world.execute("grams", op, {})
    return world.artifacts["grams"]


def grams(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)} or {tuple(words)} - {(), tuple(words[:1])}


def same(a: Artifact, b: Artifact) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@given(st.lists(WORDS, min_size=1, max_size=8), st.integers(1, 9))
def test_rows_and_totals(texts: list[str], batch_rows: int) -> None:
    op = EvaluationNgrams(ngram=3, min_ngram=2)
    found = collected(op, batch_rows, text=texts)
    known = [grams(re.findall(r"\w+", text)) for text in texts]
    totals = [len(some) for some in known]
    while totals[1:] and not totals[-1]:
        totals.pop()  # rows behind the last one that has an n-gram
    assert found["totals"].tolist() == totals
    assert len(found["offsets"]) == len(set().union(*known)) + 1
    assert len(found["rows"]) == sum(map(len, known))
    assert np.count_nonzero(found["cells"]) == len(found["offsets"]) - 1
    assert found["lengths"].tolist() == sorted({len(gram) for k in known for gram in k})
    assert same(found, collected(op, 100, text=texts))


def test_columns_make_one_row() -> None:
    op = EvaluationNgrams(texts=("q", "a"), ngram=2, min_ngram=2)
    found = collected(op, 1, q=["x y z", "x y"], a=["y z", None])
    assert found["totals"].tolist() == [2, 1]
    assert sorted(np.diff(found["offsets"]).tolist()) == [1, 2]


def test_rows_of_one_ngram_are_bounded() -> None:
    op = EvaluationNgrams(ngram=1, min_ngram=1)
    found = collected(op, 30, text=["same"] * 100)
    assert found["rows"].tolist() == list(range(MOST_ROWS))
    assert found["totals"].tolist() == [1] * MOST_ROWS


def test_nothing_to_look_for() -> None:
    found = collected(EvaluationNgrams(), 2, text=["too short", "", None])
    assert found["totals"].tolist() == [0]
    assert found["offsets"].tolist() == [0]
    assert not found["filter"].any()


def test_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_ngrams, "MOST_NGRAMS", 3)
    with pytest.raises(ValueError, match="more than 3 n-grams; use several nodes"):
        collected(EvaluationNgrams(ngram=1, min_ngram=1), 2, text=["a b", "c d"])
