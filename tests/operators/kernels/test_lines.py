"""Lines and paragraphs against Python's strings and regular expressions."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels import lines as kernel
from operators.kernels.hash128 import reference as murmur
from operators.kernels.lines import Lines, count_characters, find_units, hash_units, reference
from operators.kernels.text_buffers import text_buffers

TEXTS = st.lists(
    st.none() | st.text(st.sampled_from("ab. \u3000\t\r\n\né中\u0085") | st.characters(codec="utf-8")),
    max_size=6,
)
ALL = ("case", "numbers", "punctuation", "accents")


def column(texts: list[str | None]) -> pa.Array:
    return pa.array(texts, pa.large_string())


@given(TEXTS, st.booleans(), st.integers(1, 4), st.sampled_from([ALL, ("case",), ()]))
def test_units_and_hashes(texts: list[str | None], by_paragraph: bool, least: int, ignore: tuple) -> None:
    lines = Lines.of("paragraph" if by_paragraph else "line", ignore, least)
    rows, hashes = hash_units(*text_buffers(column(texts)), lines)
    expected = [(row, form) for row, text in enumerate(texts) for _, form in reference(text or "", lines)]
    assert rows.tolist() == [row for row, _ in expected]
    assert hashes.tolist() == [murmur(form.encode())[0] for _, form in expected]


@given(st.text(st.sampled_from("ab \t\r\n\n\n\u3000")))
def test_units_are_the_whole_text(text: str) -> None:
    """A line feed ends a line; a paragraph begins where a line with something follows an empty one."""
    lines = Lines.of("line", (), 1)._replace(least=0)
    assert [unit for unit, _ in reference(text, lines)] == [s for s in re.split(r"(?<=\n)", text) if s]
    units = [unit for unit, _ in reference(text, lines._replace(paragraphs=True))]
    assert "".join(units) == text
    heads = [m.start() for m in re.finditer(r"(?m)^(?=[^\n]*\S)", text) if m.start()]
    begins = [head for head in heads if not text[: head - 1].rpartition("\n")[2].strip()]
    assert np.cumsum([len(unit) for unit in units])[:-1].tolist() == begins


@given(TEXTS, st.booleans(), st.integers(1, 3), st.data())
def test_units_are_found_again(
    texts: list[str | None], by_paragraph: bool, least: int, data: st.DataObject
) -> None:
    lines = Lines.of("paragraph" if by_paragraph else "line", ALL, least)
    known = [reference(text or "", lines) for text in texts]
    wanted = [sorted(data.draw(st.sets(st.sampled_from(range(len(k)))))) if k else [] for k in known]
    buffers = text_buffers(column(texts))
    counts = np.array([len(places) for places in wanted], np.int64)
    begin, end = find_units(
        *buffers, lines, counts, np.array([p for places in wanted for p in places], np.int64)
    )
    found = [buffers[0][a:b].tobytes().decode() for a, b in zip(begin, end, strict=True)]
    units = [known[row][place][0] for row, places in enumerate(wanted) for place in places]
    for unit, got in zip(units, found, strict=True):
        assert got.startswith(unit)
        assert not got[len(unit) :].strip()
        assert got == unit or not by_paragraph
    assert all((np.diff(part) > 0).all() for part in np.split(begin, np.cumsum(counts)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\r\n\r\ntwo\r\nthree", [("one\r\n\r\n", "one"), ("two\r\nthree", "two three")]),
        ("\n \na\n\u3000\n\t\nb\n", [("a\n\u3000\n\t\n", "a"), ("b\n", "b")]),
        ("a\n\n \x1c", [("a\n\n \x1c", "a")]),
        ("第一段。\n第二行\n\n第三段", [("第一段。\n第二行\n\n", "第一段 第二行"), ("第三段", "第三段")]),
    ],
)
def test_paragraphs(text: str, expected: list[tuple[str, str]]) -> None:
    lines = Lines.of("paragraph", ALL, 1)
    assert reference(text, lines) == expected
    _, hashes = hash_units(*text_buffers(column([text])), lines)
    assert hashes.tolist() == [murmur(form.encode())[0] for _, form in expected]


def test_a_slice_of_an_array() -> None:
    texts = column(["zero\nnull", None, "one\n", "", "two\nthree"])[1:]
    rows, _ = hash_units(*text_buffers(texts), Lines.of("line", ALL, 1))
    assert rows.tolist() == [1, 3, 3]


def test_a_line_of_ten_megabytes() -> None:
    text = "Wörd 7, " * 1_100_000
    lines = Lines.of("line", ALL, 1)
    rows, hashes = hash_units(*text_buffers(column([text + "\nend", "word 3 " * 1_100_000])), lines)
    assert len(text.encode()) > 9_000_000
    assert rows.tolist() == [0, 0, 1]
    assert hashes[0] == hashes[2]


def test_no_more_units_of_a_text_than_a_place_can_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound itself: a text with 2^24 lines would take a second, so it is lowered."""
    monkeypatch.setattr(kernel, "MOST_UNITS", 3)
    run = kernel._hash_units.py_func
    data, starts, ends = text_buffers(column(["a\nb\nc\nd\ne", "f"]))
    out = np.zeros(9, np.int64), np.zeros(9, np.uint64)
    tables = kernel.form_tables(kernel.Form(), True)
    n = run(data, starts, ends, False, 1, tables, np.zeros(60, np.uint8), out)
    assert out[0][:n].tolist() == [0, 0, 0, 1]


@given(TEXTS)
def test_characters(texts: list[str | None]) -> None:
    assert count_characters(*text_buffers(column(texts))).tolist() == [len(text or "") for text in texts]
