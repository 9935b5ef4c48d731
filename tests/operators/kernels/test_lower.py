"""Lower-casing and classes against Python, over every code point and over hard sequences."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.lower import (
    DIGIT,
    SPACE,
    WORD,
    case_tables,
    decode,
    encode,
    lower_at,
)

HARD = st.text(st.sampled_from("aZ Σσς\u0301\u00ad'·ʰİıßŉȺÅǅ中\U00010400\u2028\x00."), max_size=12)


def lowered(text: bytes) -> str:
    data, points, i = np.frombuffer(text + b" ", np.uint8), [], 0
    while i < len(text):
        first, second, i = lower_at(data, 0, i, len(text), *case_tables())
        points += [first, second] if second else [first]
    return "".join(map(chr, points))


def test_classes_of_every_code_point() -> None:
    classes, _ = case_tables()
    every = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    text = "".join(every)
    words = {match.group() for match in re.finditer(r"\w", text)}
    bits = classes[[ord(c) for c in every]]
    assert [bool(b & WORD) for b in bits] == [c in words for c in every]
    assert [bool(b & SPACE) for b in bits] == [c.isspace() for c in every]
    assert [bool(b & DIGIT) for b in bits] == [c.isdecimal() for c in every]


def test_lower_case_of_every_code_point() -> None:
    """A space between them keeps the sigma out of context."""
    text = " ".join(chr(c) for c in range(0x20000) if not 0xD800 <= c < 0xE000)
    assert lowered(text.encode()) == text.lower()


@given(HARD)
def test_lower_case_in_context(text: str) -> None:
    assert lowered(text.encode()) == text.lower()


@given(st.binary(max_size=12))
def test_invalid_bytes_never_crash_and_never_swallow_text(noise: bytes) -> None:
    """Runs of U+FFFD count as one: Python makes one of a truncated sequence, we one of each byte."""
    got, want = lowered(noise + b" A"), (noise + b" A").decode("utf-8", "replace").lower()
    assert re.sub("\ufffd+", "\ufffd", got) == re.sub("\ufffd+", "\ufffd", want)


@given(st.characters(exclude_categories=["Cs"]))
def test_encode_and_decode_are_utf8(char: str) -> None:
    out = np.zeros(8, np.uint8)
    size = encode(ord(char), out, 0)
    assert out[:size].tobytes() == char.encode()
    assert decode(out, 0, size) == (ord(char), size)
