"""The hold-out: whole clusters, every group, no giant, the same for any cut."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run
from near_corpora import corpus, jaccard
from pydantic import ValidationError

from operators.holdout import Holdout


def held(table: pa.Table, batch_rows: int = 100, **fields: object) -> list[bool]:
    return [reason == "holdout" for reason in run(Holdout(**fields), table, batch_rows)["drop"].to_pylist()]


def distinct(n: int, group: str = "g") -> list[str]:
    return [f"{group}{i} stands alone as number {i} of {group}" for i in range(n)]


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_no_near_duplicate_is_on_the_other_side(seed: int, batch_rows: int) -> None:
    texts = [*corpus(seed, 30), *distinct(10)]
    out = held(pa.table({"text": texts}), batch_rows, share=0.4, ngram=1, largest=1.0)
    for i in np.flatnonzero(out):
        assert all(out[j] or jaccard(texts[i], texts[j], 1) < 0.5 for j in range(len(texts)))
    assert out == held(pa.table({"text": texts}), share=0.4, ngram=1, largest=1.0)


def test_the_share_and_the_number_are_expectations() -> None:
    """Binomial(2000, 0.1): within 4 standard deviations (13.4)."""
    table = pa.table({"text": distinct(2000)})
    assert abs(sum(held(table, share=0.1)) - 200) < 54
    assert abs(sum(held(table, docs=200)) - 200) < 54


def test_every_group_gives_one_cluster_but_never_all_of_it() -> None:
    texts = [*distinct(300, "a"), *distinct(4, "b"), *distinct(1, "c")]
    domain = ["a"] * 300 + ["b"] * 4 + [None]
    out = np.array(held(pa.table({"text": texts, "domain": domain}), by="domain", share=0.01))
    assert out[:300].sum() >= 1
    assert out[300:304].sum() == 1
    assert not out[304]


def test_a_giant_cluster_stays_in_the_pool() -> None:
    texts = [*["one and the same text in many copies of it"] * 40, *distinct(60)]
    for split_seed in range(5):
        out = held(pa.table({"text": texts}), share=0.9, split_seed=split_seed)
        assert not any(out[:40])
        assert sum(out[40:]) > 40


def test_the_split_follows_the_key_not_the_position() -> None:
    texts, key = distinct(100), np.arange(100, dtype=np.uint64) * np.uint64(977)
    forward = held(pa.table({"text": texts, "key": key}), share=0.2)
    backward = held(pa.table({"text": texts[::-1], "key": key[::-1].copy()}), share=0.2)
    assert forward == backward[::-1]
    assert forward != held(pa.table({"text": texts, "key": key}), share=0.2, split_seed=1)


def test_share_or_docs() -> None:
    with pytest.raises(ValidationError, match="give one of them"):
        Holdout(share=0.1, docs=5)
