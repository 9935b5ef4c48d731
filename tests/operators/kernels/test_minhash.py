"""Signatures against datasketch, theory and the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from datasketch.lsh import _optimal_param
from datasketch.minhash import MinHash
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.minhash import (
    band_shape,
    min_hash,
    permutation_factors,
    reference,
    scheme,
    sign,
)
from operators.kernels.shingles import Shingling
from operators.kernels.shingles import reference as grams_of

FACTORS = permutation_factors(1, 128)
BYTE = 1 / 256  # two bytes that have nothing to do with each other are equal


def signed(texts: list[str], bands: int = 16, rows: int = 8, ngram: int = 5) -> tuple[np.ndarray, ...]:
    column = pa.array(texts, pa.large_string())
    return sign(column, Shingling(ngram=ngram), bands=bands, rows=rows, factors=FACTORS)


def planted(pairs: int, size: int, shared: int, seed: int) -> tuple[pa.Array, float]:
    """2 * pairs texts of `size` random words of 8 letters, and their J: text 2 i has `shared` of its words
    in common with text 2 i + 1."""
    words = np.random.default_rng(seed).integers(97, 123, (pairs, 2 * size - shared, 9), np.uint8)
    words[:, :, 8] = ord(" ")
    both = np.stack([words[:, :size], words[:, size - shared :]], axis=1).tobytes()
    offsets = np.arange(2 * pairs + 1, dtype=np.int64) * 9 * size
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(both)]
    return pa.Array.from_buffers(pa.large_string(), 2 * pairs, buffers), shared / (2 * size - shared)


def estimates(signature: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """(pairs,) the unbiased estimate of J from the share of equal bytes (Li & König 2010, theorem 1)."""
    share = (signature[::2] == signature[1::2]).mean(axis=1)
    return np.asarray((share - BYTE) / (1 - BYTE))


def spread(j: float, permutations: int) -> float:
    """The standard deviation of that estimate."""
    equal = j + (1 - j) * BYTE
    return float(np.sqrt(equal * (1 - equal) / permutations) / (1 - BYTE))


@given(st.sets(st.integers(0, 2**64 - 1), max_size=20))
def test_minima_by_definition(shingles: set[int]) -> None:
    got = min_hash(np.array(sorted(shingles), np.uint64), FACTORS)
    assert got.tolist() == reference(shingles, FACTORS)


@pytest.mark.parametrize("words", [0, 1, 4, 5, 6, 12, 13, 300, 3000])
def test_signatures_by_definition(words: int) -> None:
    """The byte is the top one of a product with 2^32 over the golden ratio."""
    text = " ".join(str(i % 997) for i in range(words))
    grams = grams_of(text.encode(), Shingling())
    minima = reference(set(grams), FACTORS)
    _, signature, same, count = signed(["other words", text])
    assert count.tolist() == [1, len(grams)]
    assert signature[1].tolist() == [(m * 0x9E3779B1 % 2**32) >> 24 for m in minima]
    swapped = [(x << 32 | x >> 32) % 2**64 for x in grams]
    want = [sum(grams) % 2**64, sum(x * y for x, y in zip(grams, swapped, strict=True)) % 2**64]
    assert same[1].tolist() == want


def check_estimates(pairs: int, size: int, shared: int, permutations: int, tolerance: float) -> None:
    """Bias within 4 standard errors, root mean square error within `tolerance` of theory."""
    texts, j = planted(pairs, size, shared, seed=size)
    factors = permutation_factors(1, permutations)
    _, signature, _, count = sign(texts, Shingling(ngram=1), bands=1, rows=1, factors=factors)
    assert (count == size).all()
    errors = estimates(signature) - j
    theory = spread(j, permutations)
    assert abs(errors.mean()) < 4 * theory / np.sqrt(pairs)
    assert abs(np.sqrt((errors**2).mean()) / theory - 1) < tolerance


@pytest.mark.parametrize(("size", "shared"), [(100, 30), (100, 89), (700, 500)])
def test_the_estimate_is_unbiased_and_as_sharp_as_theory(size: int, shared: int) -> None:
    check_estimates(1000, size, shared, 128, 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("permutations", [128, 256])
@pytest.mark.parametrize(
    ("size", "shared"), [(20, 10), (100, 30), (100, 67), (100, 89), (100, 95), (700, 500)]
)
def test_the_estimate_is_within_three_per_cent_of_theory(size: int, shared: int, permutations: int) -> None:
    check_estimates(20_000, size, shared, permutations, 0.03)


@pytest.mark.slow
def test_large_sets_are_estimated_as_well() -> None:
    check_estimates(3000, 9000, 8000, 128, 0.05)


@pytest.mark.parametrize("shared", [50, 89])
def test_the_estimate_is_as_good_as_datasketch_s(shared: int) -> None:
    """Mean errors agree within 4 standard errors of their difference."""
    pairs = 80
    texts, j = planted(pairs, 100, shared, seed=3)
    ours = estimates(sign(texts, Shingling(ngram=1), bands=1, rows=1, factors=FACTORS)[1])
    hashed = [MinHash(num_perm=128) for _ in range(2 * pairs)]
    for one, text in zip(hashed, texts.to_pylist(), strict=True):
        one.update_batch([word.encode() for word in text.split()])
    theirs = np.array([a.jaccard(b) for a, b in zip(hashed[::2], hashed[1::2], strict=True)])
    error = np.sqrt((spread(j, 128) ** 2 + j * (1 - j) / 128) / pairs)
    assert abs(ours.mean() - theirs.mean()) < 4 * error


SHAPES = [(128, 14, 8), (128, 16, 8), (128, 32, 4), (128, 17, 7), (256, 20, 12), (256, 32, 8)]


def recall(pairs: int, shared: int, permutations: int, bands: int, rows: int) -> tuple[float, float]:
    """(share of planted pairs that have a band in common, what 1 - (1 - J^rows)^bands says)."""
    texts, j = planted(pairs, 100, shared, seed=shared)
    factors = permutation_factors(1, permutations)
    keys = sign(texts, Shingling(ngram=1), bands=bands, rows=rows, factors=factors)[0]
    found = (keys[::2] == keys[1::2]).any(axis=1).mean()
    return float(found), float(1 - (1 - j**rows) ** bands)


@pytest.mark.parametrize(("permutations", "bands", "rows"), SHAPES[::2])
@pytest.mark.parametrize("shared", [67, 89])
def test_bands_find_what_theory_says(permutations: int, bands: int, rows: int, shared: int) -> None:
    found, theory = recall(1000, shared, permutations, bands, rows)
    assert abs(found - theory) < 0.002 + 4 * np.sqrt(theory * (1 - theory) / 1000)


@pytest.mark.slow
@pytest.mark.parametrize(("permutations", "bands", "rows"), SHAPES)
@pytest.mark.parametrize("shared", [50, 67, 75, 82, 89, 95])
def test_recall_is_within_0_015_of_theory(permutations: int, bands: int, rows: int, shared: int) -> None:
    found, theory = recall(20_000, shared, permutations, bands, rows)
    assert abs(found - theory) < 0.015


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


def test_a_band_is_its_own_minima_and_no_others() -> None:
    """Of two similar texts a band's keys are equal if and only if all of its minima are."""
    one, two = "a b c d e f g h i j k l m n o p", "a b c d e f g h i j k l m n o q"
    sets = [set(grams_of(text.encode(), Shingling())) for text in (one, two)]
    minima = np.array([reference(grams, FACTORS) for grams in sets]).reshape(2, 32, 4)
    bands = signed([one, two], bands=32, rows=4)[0]
    equal = (minima[0] == minima[1]).all(axis=1)
    assert (bands[0] == bands[1]).tolist() == equal.tolist()
    assert 0 < equal.sum() < 32


def test_the_same_n_grams_as_often_are_the_same() -> None:
    texts = ["x y x", "Y x y!", "x y x y", "y x y x", "x y x z x y", "x z x y x y", "", "?"]
    same = [tuple(row) for row in signed(texts, ngram=2)[2].tolist()]
    assert same[0] == same[1]  # xy, yx in either order
    assert len({same[0], same[2], same[3]}) == 3  # one of them twice
    assert same[4] == same[5] != same[3]
    assert same[6] == same[7] == (0, 0)
    assert signed(texts, ngram=2)[3].tolist() == [2, 2, 3, 3, 5, 5, 0, 0]


@given(st.lists(st.lists(st.sampled_from("ab"), max_size=6), min_size=2, max_size=6))
def test_same_means_the_same_n_grams(texts: list[list[str]]) -> None:
    def grams(words: list[str]) -> Any:
        return sorted(tuple(words[i : i + 2]) for i in range(max(1, len(words) - 1))) if words else []

    same = signed([" ".join(words) for words in texts], ngram=2)[2].tolist()
    for a, one in zip(same, texts, strict=True):
        assert [a == b for b in same] == [grams(one) == grams(two) for two in texts]


def test_tokens_and_characters_are_signed_too() -> None:
    shape: dict[str, Any] = {"bands": 4, "rows": 4, "factors": FACTORS}
    lists = pa.array([[1, 2, 3, 4], None, [1, 2, 3, 4], [4, 3, 2, 1], []])
    _, signature, _, count = sign(lists, Shingling("tokens", 2), **shape)
    assert count.tolist() == [3, 0, 3, 3, 0]
    assert (signature[0] == signature[2]).all()
    assert (signature[0] == signature[3]).mean() < 0.1
    chinese = pa.array(["今天天气很好", "今天 天气很好", None, "今天天气很好\n"], pa.large_string())
    _, signature, _, count = sign(chinese, Shingling("characters", 3), **shape)
    assert count.tolist() == [4, 5, 0, 4]
    assert (signature[0] == signature[3]).all()
    assert not (signature[0] == signature[1]).all()


def test_another_parameter_is_another_scheme() -> None:
    shape = {"permutations": 128, "bands": 16, "rows": 8, "seed": 1}
    names = {scheme(Shingling(), **(shape | other)) for other in ({}, *({name: 2} for name in shape))}
    names.add(scheme(Shingling(case="keep"), **shape))
    assert len(names) == 6
    assert scheme(Shingling(), **shape) == "shingles2-words-5-keep-fold-drop-minhash2-128x8bit-16x8-seed1"


def test_golden() -> None:
    """Signatures are compared between runs: other bytes need another `SCHEME` and version."""
    bands, signature, same, _ = signed(["the quick brown fox jumps over the lazy dog"])
    assert (bands[0, :2].tolist(), signature[0, :8].tolist(), same[0].tolist()) == GOLDEN


GOLDEN = (
    [6645054818189141027, 4995166051217425791],
    [20, 52, 183, 206, 35, 36, 154, 11],
    [18198430554377392549, 10601397602235070918],
)
