"""The counts of prose by hand, and the kernel against its reference on any text."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from operators.kernels.prose import NAMES, count, reference
from operators.kernels.text_buffers import text_buffers

SAMPLE = Path(__file__).parents[3] / "configs" / "quickstart" / "sample"
PIECES = st.sampled_from(
    ["and", "Because", "J.", "e.g.", "U.S.", "wait!", "“stop.”", "(no.)", "...", "—", "\n", "\n\n", "\t",
     "3.14", "well-known", "élève", "don't", "naïveté,", "ELEMENTARY", "interesting", "Processing", "x" * 70,
     "ΣΑΣ", "İ", "日本。", "a_b", "state-of-the-art.", "http://a.b/c", "ǅ", "\x1f", "\u2028", "½", "e\u0301"]
)  # fmt: skip


def counted(texts: list[str | None]) -> list[dict[str, int]]:
    rows = count(*text_buffers(pa.array(texts, pa.large_string()))).tolist()
    return [dict(zip(NAMES, row, strict=True)) for row in rows]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.lists(PIECES | st.text(max_size=5), max_size=12).map(" ".join) | st.text(), max_size=4))
@example(["J. R. saw it. e.g. this", "a\n\nb. \n \n c"])
def test_equals_its_reference(texts: list[str]) -> None:
    assert counted([*texts, None]) == [reference(text) for text in [*texts, ""]]


def test_equals_its_reference_on_real_texts() -> None:
    texts = pq.read_table(SAMPLE / "part-0.parquet").column("text").to_pylist()[:60]
    assert counted(texts) == [reference(text) for text in texts]


def test_by_hand() -> None:
    text = "The mill-owner's university, and Dr. Elliot Amadeus too, was “informing” us. "
    text += "Unless it rained!\n\nA title"
    got = counted([text])[0]
    known = {
        "words": 16,
        "sentences": 4,  # `Dr.` ends one, which is wrong; the title is one by the empty line
        "coordinating": 1,
        "subordinating": 1,
        "capitals": 6,
        "digits": 0,
        "long_words": 4,
        "types": 16,
        "polysyllables": 4,  # all but `Elliot`, whose three are heard as two
        "complex_words": 1,
    }
    assert {name: got[name] for name in known} == known


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", 0), ("...", 0), ("One", 1), ("One. Two", 2), ("One... two?! Three.", 3),
        ('He said "no." Then', 2), ("J. S. Bach died.", 1), ("the U.S. army", 1), ("version 3.14 is", 1),
        ("1. item\n2. item", 1),
        ("title\n\nbody.", 2), ("title\nbody.", 1), ("日本です。 次。", 2),
    ],
)  # fmt: skip
def test_sentences(text: str, sentences: int) -> None:
    assert counted([text])[0]["sentences"] == sentences


def test_invalid_bytes_are_characters() -> None:
    raw = pa.array([b"caf\xe9 au \xff"], pa.large_binary())
    row = count(*text_buffers(pa.Array.from_buffers(pa.large_string(), 1, raw.buffers())))[0]
    got = dict(zip(NAMES, row.tolist(), strict=True))
    assert (got["ink"], got["letters"], got["words"]) == (7, 5, 2)
