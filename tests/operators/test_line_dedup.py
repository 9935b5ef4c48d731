"""Line deduplication: the whole recipe against Python sets, and texts as other people write them."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_engine import run
from pydantic import ValidationError

from operators.kernels.cuts import apply_cuts
from operators.kernels.lines import Lines, reference
from operators.line_dedup import LineDedup

LINES = ["Home | About", "home about", "He paid 12 $.", "he paid 34 $", "naïve", "naive", "* * *", "", " \r"]
TEXT = st.builds(
    lambda some, end: "\n".join(some) + end, st.lists(st.sampled_from(LINES)), st.sampled_from("\n ")
)


def table(texts: list[str | None]) -> pa.Table:
    return pa.table({"text": pa.array(texts, pa.large_string())})


def edited(texts: list[str | None], batch_rows: int = 2, **fields: object) -> list[str | None]:
    """The texts after the cuts, None for those that are dropped."""
    out = run(LineDedup(**fields), table(texts), batch_rows)
    left = apply_cuts(pa.array(texts, pa.large_string()), out["cuts"].combine_chunks())
    gone = np.asarray(out["drop"].combine_chunks().is_valid())
    return [None if g else text for g, text in zip(gone, left.to_pylist(), strict=True)]


def brute_force(texts: list[str | None], op: LineDedup) -> list[str | None]:
    """The same with sets of strings, one line at a time."""
    every = Lines.of(op.unit, op.ignore, op.min_line)._replace(least=0)
    units = [reference(text or "", every) for text in texts]
    has: dict[str, set[int]] = defaultdict(set)
    for row, some in enumerate(units):
        for _, form in some:
            has[form].add(row)
    out: list[str | None] = []
    for row, some in enumerate(units):
        seen, goes = set(), []
        for _, form in some:
            elsewhere = has[form] - {row} if op.policy == "drop_all" else {r for r in has[form] if r < row}
            again = op.within == "first" and form in seen
            seen.add(form)
            goes.append(len(form) >= op.min_line and bool(elsewhere or again))
        left = without([unit for unit, _ in some], goes, op.unit == "line")
        short = len(left) < op.min_chars or len(left.split()) < op.min_words
        out.append(texts[row] if not any(goes) else None if short else left)
    return out


def without(units: list[str], goes: list[bool], lines: bool) -> str:
    """What is left; behind a line that goes, empty ones go if there is one left before it, or nothing."""
    left: list[str] = []
    closing = False
    for unit, gone in zip(units, goes, strict=True):
        if gone:
            closing = lines and not (left and left[-1].strip())
        elif not closing or unit.strip():
            closing = False
            left.append(unit)
    return "".join(left)


@given(
    st.lists(st.none() | TEXT, max_size=7),
    st.integers(1, 8),
    st.sampled_from(["line", "paragraph"]),
    st.sampled_from(["keep_first", "drop_all"]),
    st.sampled_from(["first", "keep"]),
    st.sampled_from([{}, {"ignore": ("case",)}, {"min_line": 6}, {"min_chars": 8, "min_words": 0}]),
)
def test_against_sets(
    texts: list[str | None], batch_rows: int, unit: str, policy: str, within: str, more: dict[str, object]
) -> None:
    fields = {"unit": unit, "policy": policy, "within": within, **more}
    assert edited(texts, batch_rows, **fields) == brute_force(texts, LineDedup(**fields))


FOOTER = "© 2024 Example Ltd. All rights reserved."


def test_boilerplate_goes_and_text_stays() -> None:
    texts = [f"{FOOTER}\nfirst text\n", f"second text\n{FOOTER}\n", f"{FOOTER.replace('2024', '1999')}\n"]
    assert edited(texts) == [texts[0], "second text\n", None]
    assert edited(texts, policy="drop_all") == ["first text\n", "second text\n", None]


def test_evidence() -> None:
    texts = ["a 1\nb\nc\n", "x\nA 2\nb!\ny\nc", "none"]
    out = run(LineDedup(), table(texts))
    assert out["lines_cut"].to_pylist() == [None, 3, None]
    assert out["bytes_cut"].to_pylist() == [None, 8, None]
    cuts = [None, [(2, 9), (11, 12)], None]  # neighbours are one cut
    assert [c and [(x["start"], x["end"]) for x in c] for c in out["cuts"].to_pylist()] == cuts
    assert out["drop"].null_count == 3


def test_one_document_repeats_itself() -> None:
    """As in CCNet's code, whose second policy counts copies in other documents only."""
    text = "la la\nverse\nla la\nend\nla la"
    assert edited([text]) == edited([text], policy="drop_all") == ["la la\nverse\nend\n"]
    assert edited([text], within="keep") == edited([text], policy="drop_all", within="keep") == [text]
    assert edited([text, "La, la"], policy="drop_all", within="keep") == ["verse\nend\n", None]
    assert edited([text, "La, la\nnew"], within="keep") == [text, "new"]


def test_line_breaks() -> None:
    """CRLF goes with its line, a lone CR is white space, as are the separators of Unicode."""
    assert edited(["one\r\ntwo\r\n", "zero\r\nONE\r\nthree\r\n"]) == ["one\r\ntwo\r\n", "zero\r\nthree\r\n"]
    assert edited(["one\ntwo", "zero\rone\nTwo"]) == ["one\ntwo", "zero\rone\n"]
    assert edited(["a\u2028b\u0085c", "A B C\nd"]) == ["a\u2028b\u0085c", "d"]


def test_empty_lines_close_behind_what_goes() -> None:
    first = "one\n\n\ntwo"
    assert edited([first, "new\n\none"]) == [first, "new\n\n"]
    assert edited([first, "one\n\nnew\n\ntwo\n\n \nnext\ntwo\n\nend"]) == [first, "new\n\nnext\n\nend"]
    assert edited([first, "a\n\none\ntwo\nb"]) == [first, "a\n\nb"]


def test_scripts() -> None:
    assert edited(["版权所有。\n第一", "《版权所有》\n第二"]) == ["版权所有。\n第一", "第二"]
    assert edited(["كل الحقوق محفوظة\nأ", "كُلُّ الحُقُوقِ مَحْفُوظَة!\nب"]) == ["كل الحقوق محفوظة\nأ", "ب"]
    assert edited(["👍\nyes", "👍\ufe0f\nno", "👎\nno no"]) == ["👍\nyes", "no", "👎\nno no"]
    assert edited(["Dvořák\n1", "dvorak\nx"], ignore=["case"]) == ["Dvořák\n1", "dvorak\nx"]
    assert edited(["Dvořák\n1", "dvorak\nx"]) == ["Dvořák\n1", "x"]


def test_numbers_count_where_they_are_not_ignored() -> None:
    sheets = ["3 plus 4 is 7\nend of one", "1 plus 1 is 2\nend of two"]
    assert edited(sheets) == [sheets[0], "end of two"]
    assert edited(sheets, ignore=("case", "punctuation", "accents")) == sheets


def test_what_has_nothing_to_compare_is_left() -> None:
    texts = ["", None, "\n\n", " \n---\n", "---", "* * *\n\u200b", ""]
    assert edited(texts) == edited(texts, policy="drop_all") == texts


def test_short_documents_that_nobody_cut_stay() -> None:
    assert edited(["a", "b c\nd", "d"], min_words=5) == ["a", "b c\nd", None]
    assert edited(["keep\nme", "keep\nok"], min_chars=3) == ["keep\nme", None]
    assert edited(["keep\nme", "keep\nok"], min_chars=2) == ["keep\nme", "ok"]
    assert edited(["keep", "keep\n \n"], min_words=0) == ["keep", ""]


def test_half_of_all_lines_are_one() -> None:
    texts = [f"subscribe now\nunique {chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(600)]
    out = edited(texts, 100)
    assert out == [texts[0], *(text.split("\n")[1] for text in texts[1:])]


def test_a_long_line_is_cut_whole() -> None:
    long = "word 1 " * 1_500_000
    assert len(long) > 10_000_000
    out = edited([long, "short\n" + long.upper() + "\nend"])
    assert out == [long, "short\nend"]


def test_invalid_utf8() -> None:
    """Bytes that are no character are compared as U+FFFD each and cut with their line."""
    rows = [b"bad \xff\xfe\nrest", b"more\nBAD \xfe\xff\nx", b"bad \xff\ny"]
    data = b"".join(rows)
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    text = pa.Array.from_buffers(pa.large_string(), 3, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    out = run(LineDedup(), pa.table({"text": text}))
    assert out["cuts"].to_pylist() == [None, [{"start": 5, "end": 12, "text": None}], None]


def test_a_real_distribution_of_lines() -> None:
    """Zipf: the n-th line in 1/n of the documents; what stays is each line once, where it came first."""
    documents = [[n for n in range(1, 60) if i % n == 0] for i in range(200)]
    names = "".join(map(chr, range(0x4E00, 0x4E00 + 60)))
    texts = ["\n".join(names[n] for n in some) for some in documents]
    left = [line for text in edited(texts, 37) if text for line in text.split()]
    assert Counter(left) == Counter(names[1:60])


@pytest.mark.parametrize(
    "fields",
    [{"unit": "word"}, {"min_line": 0}, {"ignore": ["spaces"]}, {"policy": "keep_last"}, {"min_words": -1}],
)
def test_fields_that_make_no_sense(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LineDedup(**fields)
