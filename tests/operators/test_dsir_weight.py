"""Weights equal a count of hashed n-grams in plain Python, and rank like n-grams without hashing."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run
from scipy import stats

from operators.contract import Artifact
from operators.dsir_weight import DsirWeight
from operators.kernels.ngrams import reference_buckets, reference_tokens

TEXTS = st.lists(st.none() | st.text(st.sampled_from("abAB0.é \n")), min_size=1, max_size=6)


def counted(texts: list[str | None], buckets: int) -> Artifact:
    found = [b for t in texts for b in reference_buckets((t or "").encode(), (1, 2), buckets)]
    return {"counts": np.bincount(np.array(found, np.int64), minlength=buckets)}


def weights(
    op: DsirWeight, texts: list[str | None], uses: dict[str, Artifact], size: int = 1000
) -> list[float]:
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    return run(op, table, batch_rows=size, uses=uses).column("log_weight").to_pylist()


@settings(deadline=None)
@given(TEXTS, TEXTS, st.sampled_from([0.5, 1.0]), st.sampled_from(["mean", "sum"]), st.integers(1, 4))
def test_equals_plain_python(
    raw: list[str | None],
    target: list[str | None],
    smoothing: float,
    normalise: Literal["mean", "sum"],
    size: int,
) -> None:
    target = [*target, "a b"]
    uses = {"raw": counted(raw, 31), "target": counted(target, 31)}
    op = DsirWeight(buckets=31, smoothing=smoothing, normalise=normalise)
    got = weights(op, raw, uses, size)
    p, q = ((uses[name]["counts"] + smoothing).astype(float) for name in ("target", "raw"))
    ratio = np.log((p / p.sum()) / (q / q.sum()))
    for text, weight in zip(raw, got, strict=True):
        found = reference_buckets((text or "").encode(), (1, 2), 31)
        if not found:
            assert weight is None
            continue
        total = math.fsum(ratio[found])
        assert weight == pytest.approx(total / len(found) if normalise == "mean" else total, abs=1e-9)


@settings(deadline=None, max_examples=20)
@given(TEXTS, st.integers(1, 6))
def test_equal_to_the_last_bit_for_any_batch(texts: list[str | None], size: int) -> None:
    texts = [*texts, "a b " * 5000, None]
    uses = {"raw": counted(texts, 31), "target": counted(["a b b"], 31)}
    whole = weights(DsirWeight(buckets=31), texts, uses)
    assert weights(DsirWeight(buckets=31), texts, uses, size) == whole


def test_ranks_like_n_grams_without_hashing() -> None:
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(300)])
    zipf = 1 / np.arange(1, 301)
    raw: list[str | None] = [
        " ".join(rng.choice(words if i % 3 else words[::-1], 60, p=zipf / zipf.sum())) for i in range(100)
    ]
    target: list[str | None] = [" ".join(rng.choice(words, 60, p=zipf / zipf.sum())) for _ in range(30)]
    uses = {"raw": counted(raw, BUCKETS), "target": counted(target, BUCKETS)}
    got = weights(DsirWeight(buckets=BUCKETS), raw, uses)
    plain = plain_weights(raw, target, BUCKETS)
    assert stats.spearmanr(got, plain).statistic > 0.999
    assert np.mean(np.abs(np.subtract(got, plain)) < 1e-9) > 0.8  # the others hold a bigram that collides


BUCKETS = 2**21  # so many that few of some 4,000 n-grams collide


def plain_weights(raw: list[str | None], target: list[str | None], vocabulary: int) -> list[float]:
    """Mean log ratio over uni- and bigrams, counted as tuples of tokens."""

    def grams(text: str | None) -> list[tuple[bytes, ...]]:
        tokens = list(reference_tokens((text or "").encode()))
        return [*((t,) for t in tokens), *pairwise(tokens)]

    def log_probability(texts: list[str | None]) -> tuple[Counter[tuple[bytes, ...]], float]:
        found = Counter(g for t in texts for g in grams(t))
        return found, math.log(found.total() + vocabulary)

    (p, p_all), (q, q_all) = log_probability(target), log_probability(raw)
    each = [[math.log(p[g] + 1) - p_all - math.log(q[g] + 1) + q_all for g in grams(t)] for t in raw]
    return [math.fsum(ratios) / len(ratios) for ratios in each]


def test_numbers_of_n_grams() -> None:
    uses = {"raw": counted(["a"], 31), "target": counted(["a"], 31)}
    table = pa.table({"text": pa.array(["a b c", "a", None, " "], pa.large_string())})
    assert run(DsirWeight(buckets=31), table, uses=uses).column("ngrams").to_pylist() == [5, 1, 0, 0]


def test_counts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="counts of target have 30 buckets, not 31"):
        weights(DsirWeight(buckets=31), ["a"], {"raw": counted(["a"], 31), "target": counted(["a"], 30)})
    with pytest.raises(ValueError, match="the target has no text"):
        weights(DsirWeight(buckets=31), ["a"], {"raw": counted(["a"], 31), "target": counted([""], 31)})
