"""Shingle sets against Python's regular expressions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.shingles import reference, scratch_cells, shingle_set, tokens_reference, word_tables

HARD = st.text(st.sampled_from("aB _9٣٠中文عـ😀é\u0301\r\n\tİΣς'ßȺⅷ²-.\x00"), max_size=60)


def shingled(text: bytes, ngram: int, zero: bool = False) -> tuple[set[int], int]:
    cells, words = scratch_cells(len(text))
    data, out = np.frombuffer(text or b" ", np.uint8), np.empty(words, np.uint64)
    ring, table = np.empty(ngram, np.uint64), np.empty(cells, np.uint64)
    count, tokens = shingle_set(data, 0, len(text), zero, word_tables(zero), ring, table, out)
    assert len(set(out[:count].tolist())) == count
    return set(out[:count].tolist()), tokens


@given(st.one_of(HARD, st.text()), st.integers(1, 6), st.booleans())
def test_equal_to_the_regular_expression(text: str, ngram: int, zero: bool) -> None:
    got, tokens = shingled(text.encode(), ngram, zero)
    assert tokens == len(tokens_reference(text.encode(), zero))
    assert got == reference(text.encode(), ngram, zero)


@given(st.lists(st.one_of(st.binary(max_size=4), st.sampled_from([b"Word ", "é".encode(), b" "]))))
def test_invalid_bytes_separate_words(pieces: list[bytes]) -> None:
    assert shingled(b"".join(pieces), 2)[0] == reference(b"".join(pieces), 2)


@pytest.mark.parametrize(
    ("text", "shingles"),
    [
        ("", 0),
        (" .\n", 0),
        ("one", 1),
        ("a b c d e", 1),
        ("a b c d e f", 2),
        ("a " * 100, 1),
        ("是的。好", 1),
    ],
)
def test_short_texts(text: str, shingles: int) -> None:
    assert len(shingled(text.encode(), 5)[0]) == shingles


def test_the_table_grows() -> None:
    text = " ".join(str(i) for i in range(5000)).encode()
    assert len(shingled(text, 2)[0]) == 4999


def test_numbers_are_kept_unless_asked() -> None:
    one, two = b"in 2019 it was 17.5", b"in 1999 it was 3.25"
    assert shingled(one, 2)[0] != shingled(two, 2)[0]
    assert shingled(one, 2, zero=True)[0] == shingled(two, 2, zero=True)[0]


def test_golden() -> None:
    """These hashes are stored in signatures: other values need a new version."""
    assert sorted(shingled(b"Hello, wide World!", 2)[0]) == [10260053770081735268, 10662452245404936509]
