"""Units and n-gram sets against Python's strings, regular expressions and sets."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from operators.kernels.shingles import (
    Shingling,
    grams_reference,
    reference,
    shingle_lists,
    units_reference,
)
from operators.kernels.units import CHUNK

LETTERS = "aB _9٣٠中文عـ😀é\u0301\r\n\tİΣς'ßȺⅷ²-.\x00\ufffd\u2028K"
HARD = st.text(st.sampled_from(LETTERS), max_size=100)
WORDS = [
    Shingling("words", 2, *rest)
    for rest in product(("keep", "zero"), ("fold", "keep"), ("drop", "keep"))  # type: ignore[arg-type]
]
CHARACTERS = [
    Shingling("characters", 3, *rest)
    for rest in product(("keep", "zero"), ("fold", "keep"))  # type: ignore[arg-type]
]


def column(texts: list[bytes]) -> pa.Array:
    """A large_string array of any bytes, valid or not."""
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(texts))]
    return pa.Array.from_buffers(pa.large_string(), len(texts), buffers)


def lists(array: pa.Array, shingling: Shingling, rows: Any = None) -> list[list[int]]:
    offsets, hashes = shingle_lists(array, shingling, rows)
    assert (offsets[0], offsets[-1]) == (0, len(hashes))
    return [hashes[a:b].tolist() for a, b in pairwise(offsets)]


def check(texts: list[bytes], shingling: Shingling) -> None:
    """Each set is the reference's, ascending."""
    assert lists(column(texts), shingling) == [sorted(set(reference(t, shingling))) for t in texts]


@pytest.mark.parametrize("shingling", [*WORDS, *CHARACTERS], ids=lambda s: s.name)
@given(texts=st.lists(st.one_of(HARD, st.text()), max_size=3))
@example(texts=["ΑΣ", "ΑΣ Σ ΑΣ.", "AΣ'", "İİ", "1٣ 2a3", "\x00\x00", "K", "é" * 40, "a" * 70])
def test_equal_to_python_s_strings(shingling: Shingling, texts: list[str]) -> None:
    check([text.encode() for text in texts], shingling)


@pytest.mark.parametrize("shingling", [WORDS[0], WORDS[-1], CHARACTERS[0]], ids=lambda s: s.name)
@given(pieces=st.lists(st.one_of(st.binary(max_size=4), st.sampled_from([b"Word ", "é".encode(), b" "]))))
def test_invalid_bytes_are_white_space(shingling: Shingling, pieces: list[bytes]) -> None:
    check([b"".join(pieces), b"the bytes behind a text are another's"], shingling)


@pytest.mark.parametrize("shingling", [WORDS[0], WORDS[-1], *CHARACTERS[::3]], ids=lambda s: s.name)
@pytest.mark.parametrize("unit", ["x", "é", "中", "😀", "7", "ab ", "a-1 ", "Σ", "  "])
def test_what_a_chunk_cuts_is_whole(shingling: Shingling, unit: str) -> None:
    """A unit moves byte by byte over the edge between two chunks."""
    near = [CHUNK - 20, CHUNK - 17, CHUNK - 16, *range(CHUNK - 4, CHUNK + 5), 2 * CHUNK]
    texts = [(unit * (size // len(unit.encode()) + 20)).encode() for size in near[::4]]
    texts += [b"w " * (size // 2) + b"-" * (size % 2) + unit.encode() * 40 for size in near]
    texts += [b"w" * size + unit.encode() + b" end" for size in near]
    check(texts, shingling)


@pytest.mark.parametrize(
    ("text", "shingling", "want"),
    [
        ("机器学习很好。机器", Shingling("characters", 2), "机器 器学 学习 习很 很好 好。 。机"),
        ("Ab\r\n\t c ", Shingling("characters", 2), "ab b␣ ␣c"),
        ("A1٢b 33", Shingling("characters", 1, numbers="zero"), "a 0 b ␣"),
        ("A1٢b 33", Shingling("words", 1, numbers="zero"), "a0b 0"),
        ("机器学习很好。机器", Shingling("words", 1), "机器学习很好 机器"),
        ("قال، قال الولد", Shingling("words", 1), "قال الولد"),
        ("😀 ok 😀", Shingling("words", 1), "ok"),
        ("😀 ok 😀😀", Shingling("words", 1, punctuation="keep"), "😀 ok"),
        ("cafe\u0301 café", Shingling("words", 1), "cafe café"),
        ("cafe\u0301", Shingling("words", 1, punctuation="keep"), "cafe \u0301"),
        ("one\r\ntwo\nthree", Shingling("words", 2), "one|two two|three"),
        ("ΟΔΟΣ Οδος", Shingling("words", 1), "οδος"),
        ("ΟΔΟΣ Οδος", Shingling("words", 1, case="keep"), "ΟΔΟΣ Οδος"),
        ("İz", Shingling("words", 1), "i z"),
        ("it's x-y.", Shingling("words", 1, punctuation="keep"), "it ' s x - y ."),
        ("one", Shingling("words", 5), "one"),
        ("a b c d e", Shingling("words", 5), "a|b|c|d|e"),
        ("a b c d e f", Shingling("words", 5), "a|b|c|d|e b|c|d|e|f"),
        ("a " * 100, Shingling("words", 5), "a|a|a|a|a"),
        (" .\n", Shingling("words", 5), ""),
        (" \n\u3000", Shingling("characters", 5), ""),
        ("", Shingling("words", 5), ""),
    ],
)
def test_what_texts_are_cut_into(text: str, shingling: Shingling, want: str) -> None:
    """want: the n-grams, | between words and ␣ for a space."""
    grams = want.split()
    words = [gram.split("|") if shingling.unit == "words" else list(gram.replace("␣", " ")) for gram in grams]
    hashes = set()
    for gram in words:
        coded = [w.encode() if shingling.unit == "words" else ord(w).to_bytes(8, "little") for w in gram]
        hashes |= set(grams_reference(coded, shingling))
    assert lists(column([text.encode()]), shingling) == [sorted(hashes)]


def test_ten_megabytes_in_one_line() -> None:
    """A unit that never ends, and a million that do, need no more memory than a short text."""
    word, words = b"ab" * 5_000_000, b" ".join(b"%06d" % i for i in range(1_400_000))
    offsets, hashes = shingle_lists(column([word, words, b"tail"]), Shingling())
    assert offsets.tolist() == [0, 1, 1 + 1_400_000 - 4, 2 + 1_400_000 - 4]
    assert hashes[[0, -1]].tolist() == reference(word, Shingling()) + reference(b"tail", Shingling())


@given(st.lists(st.one_of(st.none(), st.lists(st.integers(-(2**31), 2**31 - 1), max_size=9))))
def test_tokens_are_integers_of_any_width(rows: list[list[int] | None]) -> None:
    shingling = Shingling("tokens", 3)
    coded = [[t.to_bytes(8, "little", signed=True) for t in row or []] for row in rows]
    want = [sorted(set(grams_reference(row, shingling))) for row in coded]
    for kind in (pa.list_(pa.int32()), pa.large_list(pa.int64())):
        assert lists(pa.array([[1], *rows], kind).slice(1), shingling) == want


def test_long_lists_of_tokens() -> None:
    tokens = np.arange(3000) // 2
    (got,) = lists(pa.array([tokens]), Shingling("tokens", 2))
    assert len(got) == 1500 + 1499


def test_some_rows_in_any_order() -> None:
    texts = pa.array(["a b", None, "c", "d e"], pa.large_string())
    every = lists(texts, Shingling(ngram=1))
    assert lists(texts, Shingling(ngram=1), np.array([3, 0, 3])) == [every[3], every[0], every[3]]
    assert lists(texts.slice(1), Shingling(ngram=1)) == every[1:]


def test_thousands_of_texts() -> None:
    texts = [" ".join(map(str, range(i % 300))) for i in range(2000)]
    offsets, hashes = shingle_lists(pa.array(texts, pa.large_string()), Shingling(ngram=2))
    assert np.diff(offsets).tolist() == [max(i % 300 - 1, min(i % 300, 1)) for i in range(2000)]
    assert all((np.diff(hashes[a:b]) > 0).all() for a, b in pairwise(offsets))


def test_fields_that_say_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="punctuation: keep is for unit: words"):
        Shingling("characters", punctuation="keep")
    with pytest.raises(ValueError, match="unit: tokens takes integers as they are"):
        Shingling("tokens", numbers="zero")


def test_columns_of_the_wrong_type_are_refused() -> None:
    with pytest.raises(TypeError, match="unit: words needs a column of large_string, got int64"):
        shingle_lists(pa.array([1]), Shingling())
    with pytest.raises(TypeError, match="unit: tokens needs a column of lists of integers, got large_string"):
        shingle_lists(pa.array(["a"], pa.large_string()), Shingling("tokens"))
    with pytest.raises(ValueError, match="a list holds a null"):
        shingle_lists(pa.array([[1, None]]), Shingling("tokens"))


def test_every_field_is_in_the_name() -> None:
    names = {s.name for s in (*WORDS, *CHARACTERS, Shingling(), Shingling("tokens"), Shingling(ngram=6))}
    assert len(names) == len(WORDS) + len(CHARACTERS) + 3
    assert Shingling().name == "shingles2-words-5-keep-fold-drop"


def test_golden() -> None:
    """These hashes are stored in indexes: other values need another `SCHEME`."""
    assert lists(column([b"Hello, wide World!"]), Shingling(ngram=2)) == [GOLDEN]
    assert units_reference(b"Hello, wide World!", Shingling()) == ["hello", "wide", "world"]


GOLDEN = [3731923877647738344, 18055004278999705140]
