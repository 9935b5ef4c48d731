"""The study's language model is a distribution, and its splits hold no document twice."""

from __future__ import annotations

import numpy as np
import pytest

from workflows.bench.selection_dsir import paired, split
from workflows.bench.word_model import Vocabulary, WordModel


def test_probabilities_sum_to_one() -> None:
    texts = ["a b a b c", "b a c c", "a", ""]
    words = Vocabulary(texts, least=1)
    model = WordModel(len(words), [words.ids(text) for text in texts])
    for before in range(len(words) + 1):
        each = [model.perplexity([np.array([before, after])]) for after in range(len(words))]
        assert sum(1 / p for p in each) == pytest.approx(1)


def test_what_was_read_is_less_surprising() -> None:
    words = Vocabulary(["a b a b", "c d c d"], least=1)
    model = WordModel(len(words), [words.ids("a b a b")])
    assert model.perplexity([words.ids("a b a b")]) < model.perplexity([words.ids("c d c d")])
    empty = WordModel(len(words), [])
    assert empty.perplexity([words.ids("a d")]) == pytest.approx(len(words))


def test_splits_are_apart() -> None:
    domains = {name: [f"{name}{i}" for i in range(400)] for name in ("x", "y")}
    texts = {name: name for names in domains.values() for name in names}
    near = {name: {f"y{name[1:]}"} for name in domains["x"]}
    one = split(domains, texts, near, "x", 3)
    assert (len(one.target), len(one.test), int(one.wanted.sum())) == (100, 95, 205)
    assert len({*one.target, *one.test, *one.pool}) == 195 + len(one.pool)
    assert not {f"y{name[1:]}" for name in (*one.target, *one.test)} & set(one.pool)


def test_paired_differences() -> None:
    assert paired(np.array([2.0, 4.0]), np.array([1.0, 1.0])) == "+2.000 ± 1.000"
    assert paired(np.array([np.nan]), np.array([1.0])) == "-"
