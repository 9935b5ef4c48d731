"""Tokens against a walk over Python's characters."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.tokens import SPACE, reference, token_classes, token_tables, tokenise

HARD = st.text(
    st.sampled_from("aZ_9 -=\r\n\u3000中かก\u0e33\u0e37e\u0301\u200d👩👍\U0001f3fd🇩ΣςİK\u00ad"), max_size=24
)


def tokens(text: bytes, fold: bool = False, behind: bytes = b" ") -> list[tuple[bytes, int, int]]:
    """(token, low, high) by the kernel, with some bytes of another text before and behind."""
    data = np.frombuffer(b"xy" + text + behind, np.uint8)
    kinds = (np.uint64, np.uint64, np.int32, np.int32)
    out = tuple(np.empty(len(text) + 1, kind) for kind in kinds)
    count = tokenise(data, 2, 2 + len(text), token_tables(fold), out)
    low, high, first, last = (array[:count].tolist() for array in out)
    return [(text[a:b], x, y) for x, y, a, b in zip(low, high, first, last, strict=True)]


@given(HARD)
def test_tokens_of_hard_texts(text: str) -> None:
    assert [token for token, _, _ in tokens(text.encode())] == reference(text.encode())


@given(HARD, HARD, st.booleans())
def test_hashes_are_equal_where_tokens_are(one: str, other: str, fold: bool) -> None:
    words = reference(one.encode(), fold) + reference(other.encode(), fold)
    hashes = [h[1:] for text in (one, other) for h in tokens(text.encode(), fold)]
    assert len(set(words)) == len(set(hashes)) == len(set(zip(words, hashes, strict=True)))


@pytest.mark.parametrize("fold", [False, True])
def test_the_bytes_behind_a_text_do_not_matter(fold: bool) -> None:
    for size in range(1, 20):
        text = b"a" * size
        assert tokens(text, fold, b"") == tokens(text, fold, b"aaaaaaaaaaaaaaa") == tokens(text, fold, b" b")


def test_every_code_point_within_a_word() -> None:
    """Of plane 0, and of the planes 1 and 14 where letters are few and marks and joiners many."""
    blocks = (range(0xD800), range(0xE000, 0x10200), range(0x1AFF0, 0x1B170), range(0x1F000, 0x1FC00))
    points = [p for block in (*blocks, range(0xE0000, 0xE0200)) for p in block]
    text = " ".join(f"a{chr(p)}a" for p in points).encode()
    assert [token for token, _, _ in tokens(text)] == reference(text)


def test_a_cut_between_tokens_tears_no_letter_from_its_marks() -> None:
    classes = token_classes()
    text = "e\u0301tude 👍\U0001f3fd👩\u200d👩\u200d👧 ⚠\ufe0f क्षि नमस्ते ภาษา"
    for token, _, _ in tokens(text.encode()):
        char = token.decode()[0]
        assert unicodedata.category(char)[0] != "M"
        assert classes[ord(char)] != SPACE
    words = " ".join(token.decode() for token, _, _ in tokens(text.encode()))
    assert words == "e\u0301tude 👍\U0001f3fd 👩\u200d👩\u200d👧 ⚠\ufe0f क्षि नमस्ते ภ า ษ า"


def test_what_is_one_token() -> None:
    text = "foo_bar2 == --- +-+ 日本語 C++ $5.00\r\n«x»"
    words = [token.decode() for token, _, _ in tokens(text.encode())]
    assert " ".join(words) == "foo_bar2 == --- + - + 日 本 語 C ++ $ 5 . 00 « x »"


def test_case() -> None:
    def hashes(text: str, fold: bool) -> list[tuple[int, int]]:
        return [h[1:] for h in tokens(text.encode(), fold)]

    assert hashes("STRASSE ΣΟΦΟΣ ÉTÉ", True) == hashes("strasse σοφος été", True)
    assert hashes("The", False) != hashes("the", False)


@given(st.binary(max_size=20))
def test_of_invalid_utf8_no_byte_is_lost(noise: bytes) -> None:
    rest = noise + b" end"
    for token, _, _ in tokens(rest):
        gap, rest = rest[: rest.index(token)], rest[rest.index(token) + len(token) :]
        assert not gap.decode().strip()
    assert rest == b""
