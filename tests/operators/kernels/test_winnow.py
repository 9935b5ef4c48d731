"""Winnowing against its definition, and its guarantee."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.winnow import accumulate, powers, reference, run_hash, winnow

FEW = st.lists(st.integers(1, 3), max_size=60)


def prefixes(tokens: list[int]) -> tuple[np.ndarray, np.ndarray]:
    low = np.array([0, *tokens], np.uint64)
    high = low * np.uint64(7)
    accumulate(len(tokens), low, high)
    return low, high


def choices(tokens: list[int], gram: int, length: int) -> tuple[list[int], list[tuple[int, int]]]:
    """All grams, and (place, first window) of the chosen ones."""
    cells = len(tokens) + 1
    grams, place, first = np.zeros(cells, np.uint64), np.zeros(cells, np.int32), np.zeros(cells, np.int32)
    low, _ = prefixes(tokens)
    count = int(winnow(low, len(tokens), gram, length, powers(length)[0, gram], (grams, place, first)))
    known = grams[: max(0, len(tokens) - gram + 1)].tolist()
    return known, list(zip(place[:count].tolist(), first[:count].tolist(), strict=True))


@given(FEW, st.integers(1, 6), st.integers(0, 9))
def test_the_leftmost_least_gram_of_every_window(tokens: list[int], gram: int, more: int) -> None:
    grams, chosen = choices(tokens, gram, gram + more)
    enough = len(tokens) >= gram + more
    assert chosen == (reference(grams, more + 1) if enough else [])


@given(FEW, FEW, FEW, FEW, st.lists(st.integers(1, 3), min_size=9, max_size=9))
def test_texts_that_share_a_window_share_a_chosen_gram(
    a: list[int], b: list[int], c: list[int], d: list[int], shared: list[int]
) -> None:
    sent = []
    for tokens in (a + shared + b, c + shared + d):
        grams, chosen = choices(tokens, 3, 9)
        sent.append({grams[place] for place, _ in chosen})
    assert sent[0] & sent[1]


def hashes(half: np.ndarray, power: np.ndarray, size: int) -> list[int]:
    """Those of all runs of `size` tokens."""
    runs = range(len(half) - size)
    return [int(run_hash(half, np.uint64(i), np.uint64(size), power[size])) for i in runs]


@given(FEW, st.data())
def test_runs_have_equal_hashes_where_tokens_are_equal(tokens: list[int], data: st.DataObject) -> None:
    size = data.draw(st.integers(1, max(1, len(tokens))))
    both = [hashes(h, p, size) for h, p in zip(prefixes(tokens), powers(len(tokens) + 1), strict=True)]
    runs = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
    for half in both:
        assert len(set(runs)) == len(set(half)) == len(set(zip(runs, half, strict=True)))
    assert not set(both[0]) & set(both[1])


def test_runs_of_other_sizes_have_other_hashes() -> None:
    """Tokens whose hash is 0 would vanish from a polynomial without the size."""
    low, _ = prefixes([0] * 20)
    assert len({hashes(low, powers(20)[0], size)[0] for size in range(1, 21)}) == 20


def test_a_gram_is_chosen_for_about_two_of_the_windows_width() -> None:
    """Density 2 / (width + 1) on random text (Schleimer et al., section 3), within 2 %."""
    tokens = np.random.default_rng(1).integers(1, 2**62, 200_000).tolist()
    _, chosen = choices(tokens, 16, 50)
    assert abs(len(chosen) / len(tokens) * 36 / 2 - 1) < 0.02
