"""The form of lines against Python's own Unicode functions, applied to whole strings."""

from __future__ import annotations

import re
import unicodedata
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.normal_lines import Form, form_tables, normalise, reference

FORMS = [Form(*flags) for flags in product((True, False), repeat=4)]
# NFD also sorts marks that are no accents, where two of these few stand side by side; we leave them.
MARKS = [
    chr(p) for p in range(0x20000) if unicodedata.combining(chr(p)) and unicodedata.category(chr(p)) == "Mc"
]
HARD = "a É é\u0301\u0300\t\r 09٣,.-!«»ς Σ İ 한 ᄒ 中 。 \u200d\ufeff\U0001f469\ufe0f\U0001d160\U0002f800"
TEXT = st.text(st.characters(codec="utf-8", exclude_characters=MARKS) | st.sampled_from(HARD + "\U000e0041"))


def plain(text: str, form: Form) -> str:
    """The form by regular expressions and NFD over the whole string."""
    if form.case:
        text = text.lower().replace("ς", "σ")
    if form.accents:
        text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    if form.numbers:
        text = re.sub(r"\d", "0", text)
    if form.punctuation:
        kinds = {c: unicodedata.category(c) for c in set(text) if not c.isspace()}
        bad = {c for c, kind in kinds.items() if kind[0] == "P" or kind in ("Cc", "Cf")}
        text = "".join(c for c in text if c not in bad)
    return " ".join(text.split())


def ours(data: bytes, form: Form, lines: bool = False) -> tuple[bytes, int]:
    out = np.zeros(3 * len(data) + 1, np.uint8)
    bytes_ = np.frombuffer(data, np.uint8)
    size, stop = normalise(bytes_, 0, len(data), form_tables(form, lines), out)
    return out[:size].tobytes(), stop


@given(TEXT, st.sampled_from(FORMS[::5]))
def test_any_text(text: str, form: Form) -> None:
    assert ours(text.encode(), form)[0].decode() == plain(text, form) == reference(text, form)


@pytest.mark.parametrize("form", [FORMS[0], FORMS[7]])
def test_every_code_point(form: Form) -> None:
    """But for most ideographs, private use and planes of which Unicode assigns nothing."""
    parts = (0, 0x3500), (0x9F00, 0xD800), (0xF8F0, 0x20100), (0x2F700, 0x30010), (0xDFFF0, 0xE1010)
    points = [point for low, high in (*parts, (0x10FFF0, 0x110000)) for point in range(low, high)]
    text = "x".join(map(chr, points))
    assert ours(text.encode(), form)[0].decode() == plain(text, form)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Copyright (c) 2019 Café", "COPYRIGHT C 1982  cafe\u0301"),
        ("  a\tb\r", "a - b"),
        ("ΣΟΦΟΣ", "σοφός"),
        ("한국어", unicodedata.normalize("NFD", "한국어")),
        ("“你好，世界。”", "你好世界"),
        ("👍\ufe0f", "👍"),
        ("مَرْحَبًا", "مرحبا"),
        ("\ufeffstart", "start"),
        ("١٢٣", "009"),
    ],
)
def test_lines_that_are_alike(one: str, other: str) -> None:
    assert ours(one.encode(), Form()) == (ours(other.encode(), Form())[0], len(one.encode()))


@pytest.mark.parametrize("text", ["", " \r\n\t", "* * *", "—", "\u0301", "\u200b", "\x00\x07", "..."])
def test_lines_without_anything_to_compare(text: str) -> None:
    assert ours(text.encode(), Form())[0] == b""


def test_a_line_ends_at_its_line_feed() -> None:
    assert ours(b"One,\r\nTwo", Form(), lines=True) == (b"one", 5)
    assert ours(b"One,\r\nTwo", Form(), lines=False) == (b"one two", 9)


def test_invalid_bytes_are_replacement_characters() -> None:
    data = b"A\xff\xe2\x82 B\xed\xa0\x80"
    assert ours(data, Form())[0].decode() == plain(data.decode("utf-8", "replace"), Form()).replace(
        "a\ufffd\ufffd b", "a\ufffd\ufffd\ufffd b"
    )


def test_characters_that_grow_fit_the_scratch() -> None:
    for char in ("\U0001d160", "각", "\xff", "ⱥ", "Ⱥ"):
        data = char.encode("utf-8" if char != "\xff" else "latin-1") * 50
        assert ours(data, Form())[0].decode() == plain(data.decode("utf-8", "replace"), Form())
