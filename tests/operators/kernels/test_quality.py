"""What the quality rules count, and what C4 leaves of a text, against Python's own strings."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from operators.kernels import c4_lines, grams, quality
from operators.kernels.cuts import apply_cuts, deletions
from operators.kernels.quality import NAMES, TERMINALS, Counting, count
from operators.kernels.text_buffers import text_buffers

STOP_WORDS = ("the", "be", "of", "été")
PLAIN = Counting(STOP_WORDS, 6, True, (False, 1, 1, True, True, True))
PIECES = st.sampled_from(
    [
        "a",
        "b",
        "the",
        "of.",
        "(the)",
        "été",
        "#x",
        "...",
        "…",
        "•x",
        "-",
        "中文。",
        "x1",
        "12",
        ".",
        "?",
        "!",
        '"',
        "'",
        "_",
        "\u3000",
        "\u2028",
        "\x0b",
        "é",
        "İ",
        "ⅷ",
        "²",
        "\n",
        "\n\n",
        "\r\n",
        "\r\n\r\n",
        "\r",
        " ",
        "\u3000",
        "....",
        "a b a b a b",
        "x y z x y z\n",
    ]
)
TEXT = st.lists(PIECES | st.text(st.characters(codec="utf-8"), max_size=3), max_size=30).map("".join)
SPACED = st.lists(PIECES, max_size=40).map(" ".join)


def column(texts: list[str | None]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def counted(texts: list[str | None], counting: Counting) -> list[dict[str, int]]:
    counts, _ = count(text_buffers(column(texts)), counting)
    return [dict(zip(NAMES, row, strict=True)) for row in counts.tolist()]


@settings(deadline=None)
@given(st.lists(st.none() | TEXT | SPACED, max_size=4))
@example(["a\r\n\r\na\r\n\r\nb\r", "", None, "\n", "\r", "x\n \n\nx", " \n\n x \n\nx"])
def test_counts_are_those_of_python(texts: list[str | None]) -> None:
    for text, got in zip(texts, counted(texts, PLAIN), strict=True):
        want = quality.reference(text or "", PLAIN)
        assert {name: got[name] for name in want} == want


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcd"), max_size=60))
def test_repeated_grams(words: list[str]) -> None:
    """Few words, so that n-grams of all lengths come again."""
    got = counted([" ".join(words)], PLAIN)[0]
    assert [got[f"grams_{n}"] for n in range(2, 11)] == grams.reference(words)


@pytest.mark.parametrize(
    ("text", "top", "repeated"),
    [
        ("a b c a b", 6, 0),  # 'a b' twice, with its space
        ("one two three", 7, 0),  # none comes again: the first one
        ("a b c d e a b c d e", 6, 5),
        ("a b c d e f a b c d e f", 6, 5),  # the 6th word is left over: no word is counted twice
        ("a a a a a a a a a a a", 30, 10),
    ],
)
def test_repeats_of_two_and_five(text: str, top: int, repeated: int) -> None:
    got = counted([text], PLAIN)[0]
    assert (got["grams_2"], got["grams_5"]) == (top, repeated)


def test_every_class_of_characters() -> None:
    table = quality.classes()
    every = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    chars = list(map(chr, every))
    for bit, holds in (
        (quality.ALNUM, str.isalnum),
        (quality.ALPHA, str.isalpha),
        (quality.SPACE, str.isspace),
        (quality.DIGIT, str.isdecimal),
        (quality.TERMINAL, TERMINALS.__contains__),
    ):
        assert ((table[every] & bit) > 0).tolist() == list(map(holds, chars))


def test_marks_that_end_sentences() -> None:
    """Some of those that Unicode's table names, in its order, and some that it does not."""
    assert set(".?!։؟۔।။።᠃。！．？｡") <= TERMINALS
    assert not set(",;:\"')]”’…、·") & TERMINALS


LINES = st.lists(
    st.sampled_from(
        [
            "one two three four five",
            ".",
            "?",
            "!",
            '"',
            "...",
            "[1]",
            "[]",
            "[edit]",
            "[citation needed]",
            "[x]",
            "[1 ",
            "[",
            "]",
            " ",
            "\t",
            "\u3000",
            "\n",
            "\r\n",
            "\n\n",
            "{",
            "javascript",
            "JavaScript",
            "lorem ipsum",
            "Lorem Ipsum dolor",
            "use cookies",
            "Privacy Policy.",
            "terms of  use",
            "uses cookie",
            "abcdefghijk",
            "é",
            "中文。",
            "[٣]",
            "(so.)",
            "e.g. it",
            "’",
            "”",
        ]
    ),
    max_size=25,
).map("".join)


def by_c4(texts: list[str], fewest: int, most: int, ends: bool) -> tuple[list[dict[str, int]], list[str]]:
    """The counts, and what the cuts leave."""
    data, starts, stops = text_buffers(column(texts))
    rules = Counting((), 30, False, (True, fewest, most, ends, True, True))
    counts, cut = count((data, starts, stops), rules)
    row = cut[:, 0]
    cuts = deletions(row, cut[:, 1] - starts[row], cut[:, 2] - starts[row], len(texts))
    found = [dict(zip(NAMES, numbers, strict=True)) for numbers in counts.tolist()]
    return found, apply_cuts(column(texts), cuts).to_pylist()


@settings(deadline=None)
@given(st.lists(LINES, max_size=3), st.integers(1, 5), st.sampled_from([3, 10, 1000]), st.booleans())
@example(["[1] [2] one two.\n [3]two [edit] three[4].\r\n\n\tx y![5]\nfour five.\n"], 1, 1000, True)
@example(["x [1]\n[2]\ny [3] "], 1, 1000, False)
def test_lines_that_c4_keeps(texts: list[str], fewest: int, most: int, ends: bool) -> None:
    found, left = by_c4(texts, fewest, most, ends)
    for text, got, after in zip(texts, found, left, strict=True):
        want, said = c4_lines.reference(text, fewest, most, ends)
        if said in (["lorem_ipsum"], ["curly_bracket"]):
            assert got[{"lorem_ipsum": "lorem_ipsum", "curly_bracket": "curly_brackets"}[said[0]]] == 1
        else:
            assert (got["lorem_ipsum"], got["curly_brackets"]) == (0, 0)
            assert [str(got["sentences"]), str(got["kept_lines"])] == said
            assert after == want


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(0, 60), st.integers(0, 60))
def test_any_bytes_are_read_within_their_bounds(noise: bytes, a: int, b: int) -> None:
    """A text counts the same by itself and with other bytes around it, valid UTF-8 or not."""
    start, end = sorted((min(a, len(noise)), min(b, len(noise))))
    rules = Counting(STOP_WORDS, 6, True, (True, 1, 9, False, True, True))
    inside = np.frombuffer(noise + b"\n", np.uint8), np.array([start]), np.array([end])
    alone = np.frombuffer(noise[start:end] + b"\n", np.uint8), np.array([0]), np.array([end - start])
    (left, cut), (right, same) = count(inside, rules), count(alone, rules)
    assert left.tolist() == right.tolist()
    assert (cut - [0, start, start]).tolist() == same.tolist()


def test_more_stop_words_than_bits() -> None:
    with pytest.raises(ValueError, match="65 stop words: at most 64"):
        counted(["a"], PLAIN._replace(stop_words=tuple(map(str, range(65)))))


def test_a_text_of_ten_megabytes() -> None:
    text = "It was a dark night; it rained.\n" * 320_000
    got = counted([text, "the end of"], PLAIN)
    assert got[0]["characters"] == len(text) > 10_000_000
    assert (got[0]["repeated_lines"], got[0]["runs"]) == (319_999, 7 * 320_000)
    assert got[1]["stop_words"] == 2
