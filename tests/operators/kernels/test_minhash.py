"""Signatures against datasketch, theory and the definition."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from datasketch.lsh import _optimal_param
from datasketch.minhash import MinHash
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.minhash import (
    NOBODY,
    band_shape,
    jaccard,
    jaccard_with,
    min_hash,
    permutation_factors,
    reference,
    shingle_lists,
    sign_texts,
)
from operators.kernels.shingles import reference as shingles_of
from operators.kernels.text_buffers import text_buffers

FACTORS = permutation_factors(1, 128)


def signed(texts: list[str], bands: int = 16, rows: int = 8, ngram: int = 5) -> tuple[np.ndarray, ...]:
    buffers = text_buffers(pa.array(texts, pa.large_string()))
    shape = {"bands": bands, "rows": rows, "ngram": ngram, "zero_numbers": False, "factors": FACTORS}
    return sign_texts(*buffers, **shape)


@given(st.sets(st.integers(0, 2**64 - 1), max_size=20))
def test_minima_by_definition(shingles: set[int]) -> None:
    x = np.array(sorted(shingles), np.uint64) >> np.uint64(32)
    out = np.empty(128, np.uint32)
    min_hash(x.astype(np.uint32), len(x), FACTORS, out)
    assert out.tolist() == reference(shingles, FACTORS)


@pytest.mark.parametrize("jaccard_index", [0.2, 0.5, 0.8])
def test_the_estimate_is_unbiased_and_as_sharp_as_theory_and_datasketch(jaccard_index: float) -> None:
    """Means within 4 standard errors of J (and of what one byte adds), spreads within a fifth."""
    rng, trials, size = np.random.default_rng(0), 400, 100
    shared = round(size * jaccard_index)
    ours, theirs = [], []
    for trial in range(trials):
        words = rng.integers(0, 10**9, 2 * size).astype(str)
        pair = words[:size], np.concatenate([words[:shared], words[size : 2 * size - shared]])
        signature = signed([" ".join(text) for text in pair], ngram=1)[1]
        ours.append((signature[0] == signature[1]).mean())
        if trial < 60:
            one, two = (MinHash(num_perm=128) for _ in pair)
            one.update_batch([word.encode() for word in pair[0]])
            two.update_batch([word.encode() for word in pair[1]])
            theirs.append(one.jaccard(two))
    true = shared / (2 * size - shared)
    spread = np.sqrt(true * (1 - true) / 128)
    assert abs(np.mean(ours) - (true + (1 - true) / 256)) < 4 * spread / np.sqrt(trials)
    assert abs(np.mean(ours) - np.mean(theirs)) < 4 * spread / np.sqrt(60) + 1 / 256
    assert 0.8 < np.std(ours) / spread < 1.2


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9])
@pytest.mark.parametrize("miss_weight", [0.5, 0.9])
def test_band_shape_costs_as_little_as_datasketch_s(threshold: float, miss_weight: float) -> None:
    jaccard_index = (np.arange(10_000) + 0.5) / 10_000

    def cost(bands: int, rows: int) -> float:
        found = 1 - (1 - jaccard_index**rows) ** bands
        below = jaccard_index < threshold
        return float((1 - miss_weight) * found[below].sum() + miss_weight * (1 - found[~below]).sum())

    theirs = _optimal_param(threshold, 128, 1 - miss_weight, miss_weight)
    assert cost(*band_shape(threshold, 128, miss_weight)) <= 1.001 * cost(*theirs)


def test_bands_are_equal_where_the_texts_are() -> None:
    bands = signed(["a b c d e f g h", "A b, c d e f g H", "something else that is not the same"])[0]
    assert (bands[0] == bands[1]).all()
    assert not (bands[0] == bands[2]).any()
    assert len(set(bands[0].tolist())) == 16


def test_the_set_hash_knows_sets_not_orders() -> None:
    _, _, sets, shingles = signed(["x y x y x", "y x y x y x y", "x x y y", ""], ngram=2)
    assert sets[0].tolist() == sets[1].tolist() != sets[2].tolist()
    assert shingles.tolist() == [2, 2, 3, 0]


@given(st.lists(st.text("ab ", max_size=12), min_size=1))
def test_shingle_lists_are_sorted_sets(texts: list[str]) -> None:
    buffers = text_buffers(pa.array(texts, pa.large_string()))
    offsets, hashes = shingle_lists(*buffers, ngram=2, zero_numbers=False)
    got = [hashes[a:b].tolist() for a, b in pairwise(offsets)]
    assert got == [sorted(shingles_of(text.encode(), 2)) for text in texts]


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_jaccard(a: set[int], b: set[int]) -> None:
    arrays = [np.array(sorted(s), np.uint64) for s in (a, b)]
    assert jaccard(*arrays) == (len(a & b) / len(a | b) if a | b else 0.0)


def test_a_partner_that_is_missing_is_named() -> None:
    key, side = np.array([7], np.uint64), np.array([1], np.uint8)
    with pytest.raises(ValueError, match="document 7 is a candidate but sent no shingles"):
        jaccard_with(key, side, key, np.array([0, 0]), np.zeros(0, np.uint64), NOBODY)


def test_golden() -> None:
    """Signatures are compared between runs: other bytes need a new version of `minhash_signature`."""
    bands, signature, sets, _ = signed(["the quick brown fox jumps over the lazy dog"])
    assert (bands[0, :2].tolist(), signature[0, :8].tolist(), sets[0].tolist()) == GOLDEN


GOLDEN = (
    [17697257832166960362, 15635976454447690367],
    [173, 67, 30, 123, 159, 197, 60, 33],
    [7377228171371059474, 17183618361943218014],
)
