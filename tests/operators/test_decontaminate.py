"""Decontamination: the recipe's parts together, against Python sets of word tuples."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from memory_engine import World, find
from pydantic import ValidationError

from operators.decontaminate import Decontaminate
from operators.kernels.cuts import apply_cuts

Texts = list[str | None]
WORDS = st.lists(st.sampled_from(["a", "b", "c", "A", "é", "中", "x1", "it's"]), max_size=12).map(" ".join)
QUESTION = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. "
    "How many clips did Natalia sell altogether in April and May?"
)


def column(texts: Texts) -> pa.Array:
    return pa.array(texts, pa.large_string())


def decontaminated(
    documents: Texts, evaluation: Texts | pa.Table, batch_rows: int = 2, **fields: object
) -> pa.Table:
    """What an engine does with the parts, the evaluation texts in the place of their file."""
    table = evaluation if isinstance(evaluation, pa.Table) else pa.table({"text": column(evaluation)})
    recipe = Decontaminate(against="evaluation.jsonl", **fields)
    world = World(pa.table({"text": column(documents)}), batch_rows, None)
    for part in recipe.parts():
        where = World(table, batch_rows, None) if part.source else world
        where.execute(part.name, find(part.op)(**part.fields), part.uses)
        world.artifacts.update(where.artifacts)
    names = [n for n in world.columns if n.startswith("/contamination.")]
    return pa.table({n.removeprefix("/contamination."): world.columns[n] for n in names})


def grams(text: str | None, n: int, least: int) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", (text or "").lower())
    if len(words) < n:
        return {tuple(words)} if len(words) >= least else set()
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def parts_of(text: str | None, lengths: set[int]) -> set[tuple[str, ...]]:
    return set().union(*(grams(text, n, n) for n in lengths))


@given(
    st.lists(st.none() | WORDS, max_size=6),
    st.lists(st.none() | WORDS, min_size=1, max_size=6),
    st.sampled_from([(1, 1), (2, 1), (3, 2), (3, 3), (4, 1)]),
    st.sampled_from([(1, 0.0), (2, 0.0), (1, 0.5), (3, 1.0)]),
    st.integers(1, 7),
)
def test_against_sets(
    documents: Texts, evaluation: Texts, sizes: tuple[int, int], rule: tuple[int, float], batch_rows: int
) -> None:
    (n, least), (min_overlap, min_share) = sizes, rule
    fields = {"ngram": n, "min_ngram": least, "min_overlap": min_overlap, "min_share": min_share}
    known = [grams(text, n, least) for text in evaluation]
    if documents and not any(known):
        with pytest.raises(ValueError, match="no n-gram to look for"):
            decontaminated(documents, evaluation, batch_rows, **fields)
        return
    out = decontaminated(documents, evaluation, batch_rows, **fields)
    for row, text in enumerate(documents):
        mine = parts_of(text, {len(gram) for some in known for gram in some})
        shared = [len(mine & some) for some in known]
        bad = [
            bool(c) and c >= min(min_overlap, len(some)) and c / len(some) >= min_share
            for c, some in zip(shared, known, strict=True)
        ]
        assert out["drop"][row].as_py() == ("contaminated" if any(bad) else None)
        best = max(range(len(known)), key=lambda e: (bad[e], shared[e], -e))
        got = {name: out[name][row].as_py() for name in ("evaluation_row", "overlap", "share")}
        if shared[best]:
            share = pytest.approx(shared[best] / len(known[best]))
            assert got == {"evaluation_row": best, "overlap": shared[best], "share": share}
            passage = out["matched"][row].as_py()
            assert passage in text
            assert parts_of(passage, {len(gram) for gram in known[best]}) & known[best]
        else:
            assert set(got.values()) == {None} == {out["matched"][row].as_py()}


@given(st.lists(WORDS, max_size=4), st.lists(WORDS, min_size=1, max_size=4), st.integers(0, 2))
def test_what_is_left_of_a_cut_text(documents: Texts, evaluation: Texts, margin: int) -> None:
    """All words that are in a shared trigram go, with their margin; no others do."""
    known = set().union(*(grams(text, 3, 3) for text in evaluation))
    assume(known)
    out = decontaminated(documents, evaluation, ngram=3, min_ngram=3, action="cut", margin=margin)
    left = apply_cuts(column(documents), out["cuts"].combine_chunks()).to_pylist()
    for text, rest in zip(documents, left, strict=True):
        assert text is not None
        found = list(re.finditer(r"\w+", text))
        gone = np.zeros(len(text), bool)
        for three in zip(found, found[1:], found[2:], strict=False):
            if tuple(word[0].lower() for word in three) in known:
                gone[max(0, three[0].start() - margin) : three[2].end() + margin] = True
        assert rest == "".join(c for c, g in zip(text, gone, strict=True) if not g)


def test_a_question_in_a_page() -> None:
    page = f"Homework\r\n\r\n1. {QUESTION.upper().replace(' ', '  ')}\r\n2. Draw a clip."
    out = decontaminated([page, "Draw a clip.", QUESTION.replace("48", "49")], ["What is new?", QUESTION])
    assert out["drop"].to_pylist() == ["contaminated", None, "contaminated"]
    assert out["evaluation_row"].to_pylist() == [1, None, 1]
    assert out["share"].to_pylist() == pytest.approx([1, None, 14 / 19])
    start = page.index("NATALIA")
    assert out["matched"][0].as_py() == page[start : page.index("MAY?") + 3]
    assert out["matched"][2].as_py() == QUESTION[QUESTION.index("of her") : -1]


def test_short_texts_are_looked_for_whole() -> None:
    ask = "Who wrote the book of all the things?"  # 8 words
    documents = [
        "so: who wrote, THE book... of all the things.",
        "Who wrote the book of all the",
        "Yes we can",
    ]
    assert decontaminated(documents, [ask])["overlap"].to_pylist() == [1, None, None]
    with pytest.raises(ValueError, match="only texts that are shorter than min_ngram"):
        decontaminated(documents, ["yes we can"])
    assert decontaminated(documents, ["yes we can", ask])["overlap"].to_pylist() == [1, None, None]
    assert decontaminated(documents, ["yes we can"], min_ngram=3)["overlap"].to_pylist() == [None, None, 1]


def test_several_columns_of_a_row_belong_together() -> None:
    table = pa.table({"question": column(["a b c d", "w x y z"]), "answer": column(["e f g", None])})
    fields = {"columns": ["question", "answer"], "ngram": 3, "min_ngram": 3}
    out = decontaminated(["a b c and e f g", "c d e f", "w x y z"], table, **fields)
    assert out["overlap"].to_pylist() == [2, None, 2]
    assert out["share"].to_pylist() == pytest.approx([2 / 3, None, 1])


def test_equal_evaluation_rows() -> None:
    """The first is named; an n-gram of more than 64 rows counts for the first 64."""
    out = decontaminated(["x a b c"], ["other words here", *["a b c"] * 100], ngram=3, batch_rows=7)
    assert out["evaluation_row"].to_pylist() == [1]
    mixed = [f"a b c d{i}" for i in range(70)]
    out = decontaminated(["a b c d3", "a b c d69"], mixed, ngram=3, batch_rows=7)
    assert out["evaluation_row"].to_pylist() == [3, 0]
    assert out["overlap"].to_pylist() == [2, 1]
    assert out["share"].to_pylist() == [1, 0.5]


def test_scripts_without_spaces() -> None:
    ask = "从前有座山，山里有座庙，庙里有个老和尚"
    documents = [f"故事：{ask}。", "从前有座城，城里有个人", "庙里没有人"]
    out = decontaminated(documents, [ask], unit="characters", ngram=8)
    assert out["matched"].to_pylist() == [ask, None, None]
    with pytest.raises(ValueError, match="shorter than min_ngram"):  # three words are too few
        decontaminated(documents, [ask])
    arabic = "كان يا ما كان في قديم الزمان ملك عظيم"
    assert decontaminated([f"قال: {arabic}!"], [arabic])["matched"].to_pylist() == [arabic]


def test_hostile_texts() -> None:
    ask = " ".join(f"w{i}" for i in range(13))
    long = "word " * 2_000_000 + ask + " 👩‍👩‍👧 end" + " x" * 100
    documents = ["", None, "word", "😀 😀", "\x00", "İ " * 20, long]
    out = decontaminated(documents, [ask, "", None, "😀"])
    assert out["matched"].to_pylist() == [None] * 6 + [ask]
    cut = decontaminated(documents, [ask], action="cut", margin=4)["cuts"].to_pylist()
    assert cut[:6] == [None] * 6
    assert [c["end"] - c["start"] for c in cut[6]] == [len(f"ord {ask} 👩‍👩".encode())]


def test_long_passages_are_shown_in_part() -> None:
    ask = " ".join(f"é{i}" for i in range(1000))
    shown = decontaminated([ask], [ask])["matched"][0].as_py()
    assert ask.startswith(shown)
    assert len(shown.encode()) in (999, 1000)


def test_invalid_utf8() -> None:
    rows = [b"one two \xff\xfe three four", b"one \xe2\x82 two three\xff"]
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    data = pa.py_buffer(b"".join(rows))
    text = pa.Array.from_buffers(pa.large_string(), 2, [None, pa.py_buffer(offsets), data])
    world = World(pa.table({"text": text}), 10, None)
    grams_, look = Decontaminate(against="x", ngram=3).parts()
    side = World(pa.table({"text": ["one two three"]}), 10, None)
    side.execute(grams_.name, find(grams_.op)(**grams_.fields), {})
    world.artifacts.update(side.artifacts)
    world.execute(look.name, find(look.op)(**look.fields), look.uses)
    matched = world.columns["/contamination.matched"].to_pylist()
    assert matched == ["one two \ufffd\ufffd three", "one \ufffd two three"]


def test_parts_fit_together() -> None:
    evaluation, look = Decontaminate(against="e.csv", columns=["q"], ngram=5).parts()
    assert (evaluation.source, look.source) == ("e.csv", None)
    assert evaluation.fields == {"unit": "words", "ngram": 5, "min_ngram": 5, "texts": ("q",)}
    assert look.uses == {"evaluation": "evaluation"}
    assert Decontaminate(against="e.csv").parts()[0].fields["min_ngram"] == 8


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ngram": 4, "min_ngram": 5}, "min_ngram = 5 is more than ngram = 4"),
        ({"margin": 5}, "use it with action: cut"),
        ({"min_share": 1.5}, "less than or equal"),
        ({"ngram": 65}, "less than or equal"),
        ({"columns": []}, "at least 1"),
    ],
)
def test_fields_that_make_no_sense(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Decontaminate(against="e.csv", **fields)
