"""Features of a text against regular expressions and counts by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from memory_engine import run

from operators.linguistic import Linguistic

SAMPLE = Path(__file__).parents[2] / "configs" / "quickstart" / "sample"


def found(texts: list[str | None]) -> list[dict[str, Any]]:
    return run(Linguistic(), pa.table({"text": pa.array(texts, pa.large_string())}), batch_rows=2).to_pylist()


def test_by_hand() -> None:
    row = found(["Grain AND stone, for the mill; but that is 12 sacks (or so). Because!"])[0]
    assert (row["words"], row["sentences"]) == (14, 2)
    assert row["coordinating"] == 5
    assert row["subordinating"] == 2
    assert row["word_length"] == pytest.approx(50 / 14)
    assert row["sentence_length"] == 7
    assert row["long_words"] == pytest.approx(1 / 14)
    assert row["type_token"] == 1
    assert row["capitals"] == pytest.approx(5 / 48)
    assert row["digits"] == pytest.approx(2 / 56)
    assert row["punctuation"] == pytest.approx(6 / 56)


def test_kinds_of_words_ignore_case() -> None:
    row = found(["The the THE Élan élan, a"])[0]
    assert row["type_token"] == pytest.approx(3 / 6)


def test_conjunctions_of_plain_ascii_text() -> None:
    """On texts of letters, spaces, commas and stops a regular expression finds the same ones."""
    for text in pq.read_table(SAMPLE / "part-0.parquet").column("text").to_pylist()[:80]:
        plain = re.sub(r"[^A-Za-z ,.\n]", " ", text)
        plain = re.sub(r"(?<=[a-zA-Z])[.,]+(?=[a-zA-Z])", " ", plain)
        row = found([plain])[0]
        assert row["coordinating"] == len(re.findall(r"\b(?:and|or|but|nor|so|yet|for)\b", plain.lower()))
        assert row["words"] == len(re.findall(r"[A-Za-z]+", plain))


def test_no_words_no_ratios() -> None:
    empty, marks, digits = found([None, "?!", "12"])
    assert set(empty.values()) == {0, None}
    assert (marks["punctuation"], marks["word_length"], marks["capitals"]) == (1, None, None)
    assert (digits["digits"], digits["word_length"], digits["capitals"]) == (1, 2, None)
