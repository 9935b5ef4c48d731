"""Shared hashes of sets that meet as messages, against Python sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.overlaps import NOBODY, least_jaccard, overlaps, similarity

SETS = st.lists(st.sets(st.integers(0, 30), max_size=12), min_size=1, max_size=8)


def packed(sets: list[set[int]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum([0, *map(len, sets)]).astype(np.int64)
    return offsets, np.array([i for one in sets for i in sorted(one)], np.uint64)


@given(SETS, st.integers(0, 8))
def test_against_sets_for_any_cut(sets: list[set[int]], cut: int) -> None:
    """The first document answers, the others follow it; the messages come in two batches."""
    side = np.array([0] + [1] * (len(sets) - 1), np.uint8)
    key, partner, both, size = np.full(len(sets), 5, np.uint64), NOBODY, [], []
    for some in (slice(0, cut), slice(cut, None)):
        if len(key[some]):
            got = overlaps(key[some], side[some], *packed(sets[some]), partner)
            partner = key[:1], packed(sets[:1])[1]
            both, size = both + got[0].tolist(), size + got[1].tolist()
    assert both[1:] == [len(one & sets[0]) for one in sets[1:]]
    assert size == [len(sets[0])] * len(sets)


def test_a_partner_that_did_not_answer_is_an_error() -> None:
    with pytest.raises(ValueError, match="document 5 is a candidate but sent no shingles"):
        overlaps(np.array([5], np.uint64), np.ones(1, np.uint8), *packed([{1}]), NOBODY)


def test_similarity() -> None:
    both, own, partner = np.array([2, 0]), np.array([4, 0]), np.array([3, 0])
    assert similarity(both, own, partner, "jaccard").tolist() == [0.4, 0]
    assert similarity(both, own, partner, "containment").tolist() == [0.5, 0]


@given(st.sets(st.integers(0, 20), min_size=1), st.sets(st.integers(0, 40)), st.floats(0.1, 1))
def test_the_least_jaccard_index_of_a_contained_set(a: set[int], b: set[int], threshold: float) -> None:
    ratio = max(1.0, len(b) / len(a))
    if len(a & b) / len(a) >= threshold:
        assert len(a & b) / len(a | b) >= least_jaccard(threshold, "containment", ratio) - 1e-12
    assert least_jaccard(threshold, "jaccard", ratio) == threshold
