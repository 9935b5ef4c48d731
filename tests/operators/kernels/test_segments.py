"""Segments, cores and windows of tokens: what the exactness of substring_dedup rests on."""

from __future__ import annotations

from collections import defaultdict
from itertools import accumulate

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels import segments as kernel
from operators.kernels.segments import (
    Winnowing,
    chosen_grams,
    core_windows,
    segments,
    window_hashes,
)
from operators.kernels.text_buffers import text_buffers

TEXTS = st.lists(st.text(st.sampled_from("abc"), max_size=60).map(" ".join), min_size=1, max_size=5)
LENGTHS = st.integers(2, 12)


def buffers(texts: list[str]) -> kernel.Texts:
    return text_buffers(pa.array(texts, pa.large_string()))


def all_segments(texts: list[str], winnowing: Winnowing) -> kernel.Segments:
    """Those of every chosen gram."""
    row, _, _ = chosen_grams(buffers(texts), winnowing)
    counts = np.bincount(row, minlength=len(texts))
    numbers = np.concatenate([np.arange(n) for n in counts]).astype(np.int32)
    return segments(buffers(texts), winnowing, counts, numbers)


def windows_of(texts: list[str], length: int) -> list[tuple[int, int, tuple[str, ...]]]:
    """(text, window, its tokens) of all windows."""
    return [
        (row, i, tuple(text.split()[i : i + length]))
        for row, text in enumerate(texts)
        for i in range(len(text.split()) - length + 1)
    ]


@given(TEXTS, LENGTHS)
def test_every_window_is_in_one_segment_and_has_one_core(texts: list[str], length: int) -> None:
    winnowing = Winnowing(length)
    found = all_segments(texts, winnowing)
    row = np.repeat(np.arange(len(texts)), found.lengths)
    covered = [
        (int(r), window)
        for r, start, many, copies in zip(row, found.start, found.windows, found.copies, strict=True)
        for window in range(start, start + many * copies)
    ]
    assert covered == [(r, i) for r, i, _ in windows_of(texts, length)]
    counts, begin, end = core_windows(found.start, found.windows, found.place, winnowing)
    assert counts.sum() == len(found.cores) == found.core_lengths.sum()
    for i, first in enumerate(accumulate(counts.tolist(), initial=0)):
        if i < len(counts):
            mine = [w for k in range(first, first + counts[i]) for w in range(begin[k], end[k])]
            assert mine == list(range(found.start[i], found.start[i] + found.windows[i]))


@given(TEXTS, LENGTHS)
def test_equal_windows_have_equal_grams_cores_and_places_and_equal_segments_equal_windows(
    texts: list[str], length: int
) -> None:
    winnowing = Winnowing(length)
    found = all_segments(texts, winnowing)
    tokens = {(r, i): window for r, i, window in windows_of(texts, length)}
    row = np.repeat(np.arange(len(texts)), found.lengths)
    counts, begin, end = core_windows(found.start, found.windows, found.place, winnowing)
    owner = np.repeat(np.arange(len(counts)), counts)
    cores, contents = defaultdict(set), defaultdict(set)
    for core, i, low, high in zip(found.cores.tolist(), owner, begin, end, strict=True):
        for window in range(low, high):
            cores[tokens[row[i], window]].add((core, int(found.place[i]) - window))
    assert all(len(seen) == 1 for seen in cores.values())
    for i, (low, high) in enumerate(zip(found.low.tolist(), found.high.tolist(), strict=True)):
        start, many, place = int(found.start[i]), int(found.windows[i]), int(found.place[i])
        run = tuple(tokens[row[i], window] for window in range(start, start + many))
        contents[low, high].add((run, place - start))
    assert all(len(seen) == 1 for seen in contents.values())
    assert len({content for seen in contents.values() for content in seen}) == len(contents)


@given(TEXTS, LENGTHS)
def test_windows_have_equal_hashes_where_their_tokens_are_equal(texts: list[str], length: int) -> None:
    all_windows = windows_of(texts, length)
    per_text = [max(0, len(text.split()) - length + 1) for text in texts]
    lengths = np.minimum(per_text, 1).astype(np.int64)
    end = np.array([n + 5 for n in per_text if n], np.int64)  # more than there are: left out
    row, low, high, window = window_hashes(
        buffers(texts), Winnowing(length), lengths, np.zeros(len(end), np.int64), end
    )
    assert list(zip(row.tolist(), window.tolist(), strict=True)) == [(r, i) for r, i, _ in all_windows]
    pairs = list(zip(low.tolist(), high.tolist(), strict=True))
    runs = [tokens for _, _, tokens in all_windows]
    assert len(set(runs)) == len(set(pairs)) == len(set(zip(runs, pairs, strict=True)))


def test_equal_grams_in_a_row_are_sent_once() -> None:
    """Periodic text sends one message a stretch, and says that it is a repeat."""
    row, gram, many = chosen_grams(buffers(["na " * 500, "x", "na " * 50, "a b c " * 200]), Winnowing(50))
    assert row.tolist()[:2] == [0, 2]
    assert many.tolist()[:2] == [2, 1]
    assert gram[0] == gram[1]
    assert (row == 3).sum() <= 2
    found = all_segments(["na " * 500], Winnowing(50))
    assert found.lengths.tolist() == [1]
    assert found.copies.tolist() == [451]


def test_texts_are_read_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"a{i % 7} b{i % 5} c{i % 3} " * 9 for i in range(40)]
    whole = all_segments(texts, Winnowing(6))
    monkeypatch.setattr(kernel, "_CHUNK_BYTES", 300)
    assert len(kernel.text_chunks(*buffers(texts)[1:])) > 10
    parts = all_segments(texts, Winnowing(6))
    for name, values in vars(whole).items():
        assert np.array_equal(values, getattr(parts, name)), name


def test_nothing() -> None:
    for texts in ([], [""], ["", "a b", " \n"]):
        assert len(chosen_grams(buffers(texts), Winnowing(3))[0]) == 0
    assert len(all_segments(["", "a b"], Winnowing(3)).low) == 0


def test_a_text_of_two_gigabytes_is_refused() -> None:
    with pytest.raises(ValueError, match="2147483648 bytes, more than 2\\^31 - 1: cut it"):
        kernel.token_scratch(2**31)
