"""Shares are those that `unicodedata` and regular expressions give, for every code point and any text."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from memory_engine import run

from operators.character_filter import CharacterFilter
from operators.kernels.characters import NAMES, SCRIPTS, classes, count_characters, reference
from operators.kernels.text_buffers import text_buffers

HARD = "a1é\u0301 \n\t\x00\x85\ufffd\ue000\U0010ffff\u0378$€™Ã©â€™Ð¿ðŸ˜€ï»¿ßÂ\u00a0вαabאａ中ß“"
TEXT = st.text(st.sampled_from(HARD) | st.characters(codec="utf-8"), max_size=40)


def counted(texts: list[Any]) -> list[dict[str, int]]:
    column = pa.array([t.encode() if isinstance(t, str) else t for t in texts], pa.large_binary())
    text = pa.Array.from_buffers(pa.large_string(), len(column), column.buffers(), column.null_count)
    return [dict(zip(NAMES, row, strict=True)) for row in count_characters(*text_buffers(text)).tolist()]


@settings(deadline=None)
@given(st.lists(TEXT, max_size=3))
@example(["Ã", "Ã©", "â€", "ÃÃ©", "ðŸ˜", "ðŸ˜€", "ï»¿", "ï¿½", "ab вав", "аb", "a\u0301б", "a1б", "a-б"])
def test_any_text(texts: list[str]) -> None:
    assert counted(texts) == [reference(text) for text in texts]


def test_every_code_point() -> None:
    """Each kind's number in `NAMES`, and what is inside words, as `unicodedata` has them."""
    table = classes()
    kinds = {"Cc": 1, "Co": 2, "Cn": 4, "Sm": 5, "Sc": 5, "Sk": 5, "So": 5}
    for point in range(0x110000):
        if 0xD800 <= point < 0xE000 or point in (9, 10, 13, 0xFFFD):
            continue
        kind = unicodedata.category(chr(point))
        assert (int(table[point]) & 7, bool(table[point] & 8)) == (kinds.get(kind, 0), kind[0] in "LMN")
    assert [int(table[point]) & 7 for point in (9, 10, 13, 0xFFFD)] == [0, 0, 0, 3]


def test_letters_of_each_alphabet() -> None:
    """A bit of its own for each, and none for other letters."""
    table = classes()
    bits: dict[str, set[int]] = {}
    for point in range(0x33000):
        char = chr(point)
        script = unicodedata.name(char, "").split(" ")[0] if unicodedata.category(char)[0] == "L" else ""
        bits.setdefault(script if script in SCRIPTS else "", set()).add(int(table[point]) & 0xFFF0)
    assert bits.pop("") == {0}
    assert sorted(bits) == sorted(SCRIPTS)
    assert sorted(bit for found in bits.values() for bit in found) == [16 << k for k in range(len(SCRIPTS))]


@pytest.mark.parametrize(
    "text", ["Café “naïve” – 20 €", "Ελληνικά", "Привет, мир", "مرحبا بالعالم", "It’s 👍"]
)
@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_mojibake_of_a_text(text: str, encoding: str) -> None:
    """Every character beyond ASCII is seen for what it is."""
    broken = "".join(bytes([b]).decode(encoding, "ignore") or chr(b) for b in text.encode())
    wrong = len(broken) - sum(char.isascii() for char in text)
    assert counted([text])[0]["mojibake"] == 0
    assert counted([broken])[0]["mojibake"] == wrong


@pytest.mark.parametrize(
    "text",
    ["„Spaß“ – Größe…", "« là » et « été »", "ESPAÑA “É”", "naïve", "3 × 5 = 15", "ÄÖÜ", "São Paulo, Ø 5 mm"],
)
def test_clean_text_is_no_mojibake(text: str) -> None:
    assert counted([text])[0]["mojibake"] == 0


@given(st.binary(max_size=30))
def test_invalid_bytes_are_replacement_characters(noise: bytes) -> None:
    """Python makes one of a truncated sequence, we one of each of its bytes."""
    got = counted([noise])[0]
    text = noise.decode("utf-8", "replace")
    assert got["replacement"] >= text.count("\ufffd")
    assert got["characters"] - got["replacement"] == len(text) - text.count("\ufffd")


CASES = [
    ("control", "\t\n\x00" + "a" * 97, "\x00" + "a" * 98, 1 / 99),
    ("private_use", "\ue000" + "a" * 99, "\uf8ff" + "a" * 98, 1 / 99),
    ("replacement", "\ufffd" + "a" * 99, "\ufffd" + "a" * 98, 1 / 99),
    ("unassigned", "\u0378" + "a" * 99, "\u0378" + "a" * 98, 1 / 99),
    ("symbols", "+=|" + "a" * 7, "→$😀" + "a" * 6, 1 / 3),
    ("mojibake", "Ã©" + "a" * 198, "Ã©" + "a" * 197, 2 / 199),
    ("mixed_scripts", "pаypal" + " a" * 19, "pаypal" + " a 1" * 18, 1 / 19),
]


@pytest.mark.parametrize(("reason", "inside", "outside", "value"), CASES, ids=[case[0] for case in CASES])
def test_a_bound(reason: str, inside: str, outside: str, value: float) -> None:
    table = pa.table({"text": [inside, outside, None, ""]})
    got = run(CharacterFilter(), table)
    assert got.column("drop").to_pylist() == [None, reason, None, None]
    assert got.column(reason).to_pylist()[1:] == [np.float32(value), 0, 0]
    without = run(CharacterFilter(**{f"max_{reason}": None}), table)
    assert without.column("drop").to_pylist() == [None] * 4


def test_unicode_is_part_of_what_it_is() -> None:
    assert CharacterFilter().unicode == unicodedata.unidata_version
    with pytest.raises(ValueError, match=r"this Python has Unicode .*, not 3\.2\.0"):
        CharacterFilter(unicode="3.2.0")
