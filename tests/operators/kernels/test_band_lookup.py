"""Band keys found in sorted files, against Python dictionaries and sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.band_lookup import cell_bits, cell_starts, common, equal_bytes, find


@given(
    keys=st.lists(st.integers(0, 2**64 - 1), max_size=200),
    others=st.lists(st.integers(0, 2**64 - 1), max_size=20),
    skip=st.sampled_from([0, 1, 3]),
    repeats=st.integers(1, 40),
)
def test_every_entry_of_a_key_is_found(keys: list[int], others: list[int], skip: int, repeats: int) -> None:
    prefix = (5 << 61) & ~((1 << (64 - skip)) - 1)  # what all keys of a file begin with
    keys = [key >> skip | prefix for key in keys + keys[:1] * repeats]
    ascending = np.sort(np.array(keys, np.uint64))
    cells = cell_starts(ascending, skip, cell_bits(len(keys)))
    queries = np.array([*keys, *(key >> skip | prefix for key in others)], np.uint64)
    first, counts = find(ascending, cells, skip, queries)
    for query, start, count in zip(queries.tolist(), first.tolist(), counts.tolist(), strict=True):
        assert count == keys.count(query)
        assert (ascending[start : start + count] == query).all()


def test_a_damaged_directory_reads_no_foreign_memory() -> None:
    keys = np.arange(100, dtype=np.uint64) << np.uint64(50)
    cells = np.full(2 ** cell_bits(100) + 1, 2**32 - 1, np.uint32)
    assert find(keys, cells, 0, keys)[1].sum() == 0


@pytest.mark.parametrize("entries", [0, 1, 15, 16, 1000, 10**6])
def test_cells_hold_few_keys(entries: int) -> None:
    assert entries / 2 ** cell_bits(entries) <= 16


SETS = st.lists(st.sets(st.integers(0, 30), max_size=20), min_size=1, max_size=6)


@given(a=SETS, b=SETS, data=st.data())
def test_common_is_the_size_of_the_intersection(
    a: list[set[int]], b: list[set[int]], data: st.DataObject
) -> None:
    pairs = data.draw(st.lists(st.tuples(st.integers(0, len(a) - 1), st.integers(0, len(b) - 1))))
    (offsets_a, hashes_a), (offsets_b, hashes_b) = flat(a), flat(b)
    row_a, row_b = (np.array([p[side] for p in pairs], np.int64) for side in (0, 1))
    out = np.empty(len(pairs), np.int64)
    common(offsets_a, hashes_a, row_a, offsets_b, hashes_b, row_b, out)
    assert out.tolist() == [len(a[i] & b[j]) for i, j in pairs]


def flat(sets: list[set[int]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum([0, *map(len, sets)])
    return offsets, np.array([x for one in sets for x in sorted(one)], np.uint64)


def test_equal_bytes() -> None:
    a = np.random.default_rng(1).integers(0, 3, (5, 128), np.uint8)
    row_a, row_b = np.array([0, 4, 2]), np.array([1, 4, 3])
    out = np.empty(3, np.int32)
    equal_bytes(a, row_a, a, row_b, out)
    assert out.tolist() == (a[row_a] == a[row_b]).sum(1).tolist()
    assert out[1] == 128
