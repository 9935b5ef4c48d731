"""Exact duplicates: who stays, who goes, and who is never touched."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_engine import run
from pydantic import ValidationError

from operators.exact_dedup import ExactDedup

TEXTS = st.lists(st.one_of(st.none(), st.sampled_from(["", "a", "A", " a ", "b c", "B  C", "ΑΣ", "ας"])))


def kept(op: ExactDedup, batch_rows: int = 2, **columns: list) -> list[int | None]:
    return run(op, pa.table(columns), batch_rows)["kept"].to_pylist()


@given(TEXTS, st.integers(1, 9), st.booleans())
def test_against_a_dictionary(texts: list[str | None], batch_rows: int, normalised: bool) -> None:
    def form(text: str | None) -> str | None:
        return " ".join(text.lower().split()) if normalised and text else text

    first: dict[str | None, int] = {}
    want = [first.setdefault(form(text), i) if form(text) else i for i, text in enumerate(texts)]
    counts = Counter(want)
    op = ExactDedup(normalise="text" if normalised else "none")
    out = run(op, pa.table({"text": pa.array(texts, pa.large_string())}), batch_rows)
    assert out["kept"].to_pylist() == [None if i == k else k for i, k in enumerate(want)]
    assert out["copies"].to_pylist() == [counts[k] for k in want]
    reasons = [None if i == k else "exact_duplicate" for i, k in enumerate(want)]
    assert out["drop"].to_pylist() == reasons


def test_short_texts_are_compared_like_long_ones() -> None:
    """Data-Juicer collapses all texts under 5 words, datatrove never removes any, text-dedup loses them."""
    assert kept(ExactDedup(), text=["a", "b", "a", "c d", "b"]) == [None, None, 0, None, 1]


def test_empty_texts_stay_unless_asked() -> None:
    texts = ["", None, "", None, " "]
    assert kept(ExactDedup(normalise="text"), text=texts) == [None] * 5
    assert kept(ExactDedup(empty="merge"), text=texts) == [None, None, 0, 1, None]


def test_keep_rules() -> None:
    texts, score = ["a b", "A  B ", "x", "a b"], [1.0, None, 5.0, 3.0]
    how = {"normalise": "text"}
    assert kept(ExactDedup(keep="longest", **how), text=texts) == [1, None, None, 1]
    assert kept(ExactDedup(keep="score:max", **how), text=texts, score=score) == [3, 3, None, None]
    assert kept(ExactDedup(keep="score:min", **how), text=texts, score=score) == [None, 0, None, 0]


def test_several_columns_must_all_be_equal() -> None:
    op = ExactDedup(compare=("text", "lang"))
    assert kept(op, text=["a", "a", "", "a"], lang=["x", "y", "ax", "x"]) == [None, None, None, 0]


def test_any_columns_such_as_urls_and_numbers() -> None:
    urls = ["http://a/1", "http://a/2", "http://a/1", None, None]
    assert kept(ExactDedup(compare=("url",)), url=urls) == [None, None, 0, None, None]
    columns = {
        "n": pa.array([1, 2, 1, None, None], pa.int16()),
        "x": pa.array([0.0, 1.5, -0.0, None, None], pa.float64()),
        "day": pa.array([1, 1, 1, None, None], pa.date32()),
        "raw": pa.array([b"\xff", b"\xff", b"\xff", None, None], pa.binary()),
        "yes": pa.array([True, False, True, None, None]),
    }
    op = ExactDedup(compare=("n", "x", "day", "raw", "yes"), empty="merge")
    for batch_rows in (1, 9):
        assert kept(op, batch_rows, **columns) == [None, None, 0, None, 3]
    assert kept(ExactDedup(compare=("n",)), n=columns["n"]) == [None, None, 0, None, None]


def test_lists_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match=r"tags is list<item: int64>: compare columns of strings"):
        kept(ExactDedup(compare=("tags",)), tags=[[1], [1]])


def test_a_preferred_source_wins_then_the_oldest() -> None:
    table = {
        "text": ["a"] * 4,
        "domain": ["web", "wiki", "docs", "wiki"],
        "date": ["2001", "2023-01-01", None, "2022-12-31"],
    }
    prefer = {"domain": ["docs", "wiki"]}
    assert kept(ExactDedup(prefer=prefer), **table) == [2, 2, None, 2]
    prefer = {"domain": ["wiki"]}
    table["date"][0] = "2001-01-01"
    assert kept(ExactDedup(prefer=prefer, keep="date:min"), **table) == [3, 3, 3, None]
    assert kept(ExactDedup(prefer=prefer, keep="date:max"), **table) == [1, None, 1, 1]
    assert kept(ExactDedup(keep="date:min"), **table) == [None, 0, 0, 0]


def test_a_hot_key_is_one_message_a_batch() -> None:
    out = run(ExactDedup(), pa.table({"text": ["same"] * 500 + [str(i) for i in range(500)]}), 100)
    assert out["copies"].to_pylist() == [500] * 500 + [1] * 500
    assert out["kept"].null_count == 501


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValidationError, match="keep"):
        ExactDedup(keep="best")
