"""Each part of substring_dedup by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from memory_engine import World, run

from operators.contested_cores import ContestedCores
from operators.contract import ColumnOp, ReduceOp
from operators.first_segments import FirstSegments
from operators.first_windows import FirstWindows
from operators.kernels.twice import earliest
from operators.repeated_grams import RepeatedGrams
from operators.repeated_segments import RepeatedSegments
from operators.repeated_spans import RepeatedSpans
from operators.span_cuts import SpanCuts
from operators.substring_dedup import SubstringDedup

# 0 and 1 share ten tokens; 2 has the middle of them, so that its segment is another one; 3 is alone.
SHARED = "k l m n o p q r s t"
TEXTS = [f"a {SHARED} b", f"c {SHARED} d e", "x m n o p q r y", "u v w u v w"]
LENGTH = 4


def world(texts: list[str | None] = TEXTS, **fields: Any) -> World:
    """All columns of all parts."""
    made = World(pa.table({"text": pa.array(texts, pa.large_string())}), 2, None)
    made.execute("face", SubstringDedup(length=LENGTH, **fields), {})
    return made


def column(name: str) -> list[Any]:
    return world().columns[name].to_pylist()


def test_only_grams_that_were_sent_twice_are_repeated() -> None:
    """At a length of 3 a gram is one token, at least one of any three."""
    texts = ["a b c d e", "b c d", "x y z", "u u u u u", None, ""]
    out = run(RepeatedGrams(length=3), pa.table({"text": pa.array(texts, pa.large_string())}), 1)
    assert out["some"].to_pylist() == [True, True, False, True, False, False]
    assert out["repeated"].to_pylist()[1:] == [[0], [], [0], [], []]


def test_segments_cover_the_windows_of_repeated_grams_only() -> None:
    segments = {name: column(f"/segments.{name}") for name in RepeatedSegments().adds}
    assert segments["start"][3] is None
    for row, text in enumerate(TEXTS[:3]):
        reach = [
            (start, start + many * copies)
            for start, many, copies in zip(
                segments["start"][row], segments["windows"][row], segments["copies"][row], strict=True
            )
        ]
        assert all(a < b <= len(text.split()) - LENGTH + 1 for a, b in reach)
        shared = [i for i in range(20) if any(a <= i < b for a, b in reach)]
        tokens = text.split()
        repeated = {i for i in range(len(tokens) - 3) if " ".join(tokens[i : i + 4]) in SHARED}
        assert repeated <= set(shared)


def test_the_first_of_equal_segments_is_named_in_all() -> None:
    low = pa.array([[5, 6], None, [6, 5, 7]], pa.list_(pa.uint64()))
    high = pa.array([[1, 1], None, [1, 2, 1]], pa.list_(pa.uint64()))
    start = pa.array([[3, 4], None, [0, 5, 9]], pa.list_(pa.int32()))
    table = pa.table({"/segments.low": low, "/segments.high": high, "/segments.start": start})
    for batch_rows in (1, 3):
        out = run(FirstSegments(), table, batch_rows)
        assert out["uids"].to_pylist() == [[0, 0], [], [0, 2, 2]]
        assert out["starts"].to_pylist() == [[3, 4], [], [4, 5, 9]]


def test_a_core_is_contested_where_two_first_segments_have_it() -> None:
    """Windows of 4 tokens, grams of 1: place - start is 2 in all segments, so each has two cores."""
    lists = {
        "/segments.start": [[0], [0], [0], [6]],
        "/segments.windows": [[2], [2], [2], [1]],
        "/segments.place": [[2], [2], [2], [8]],
        "/first.starts": [[0], [0], [0], [6]],
    }
    columns = {name: pa.array(values, pa.list_(pa.int32())) for name, values in lists.items()}
    columns["/first.uids"] = pa.array([[0], [0], [2], [3]], pa.list_(pa.int64()))
    columns["/segments.cores"] = pa.array([[7, 8], [7, 8], [9, 8], [7]], pa.list_(pa.uint64()))
    out = run(ContestedCores(length=4), pa.table(columns), 2)
    assert out["contested"].to_pylist() == [[0, 1], [], [1], [0]]
    assert out["some"].to_pylist() == [True, False, True, True]


def test_answers_name_first_occurrences() -> None:
    first: dict[tuple[str, ...], tuple[int, int]] = {}
    for uid, text in enumerate(TEXTS):
        tokens = text.split()
        for i in range(len(tokens) - LENGTH + 1):
            first.setdefault(tuple(tokens[i : i + LENGTH]), (uid, i))
    uids, starts = column("/windows.uids"), column("/windows.starts")
    answers = [pair for u, s in zip(uids, starts, strict=True) for pair in zip(u or [], s or [], strict=True)]
    assert answers
    assert set(answers) <= set(first.values())
    assert not uids[3]


def test_grams_in_common_that_make_no_repeat_ask_for_no_windows() -> None:
    """Windows of 12 tokens, grams of 4, cores of 9: the texts have 5 tokens in a row in common, often."""
    texts = []
    for side in "xy":
        apart = [" ".join(f"{side}{i}.{k}" for k in range(5)) for i in range(20)]
        texts.append(" ".join(f"{words} p{i} q{i} r{i} s{i} t{i}" for i, words in enumerate(apart)))
    made = World(pa.table({"text": pa.array(texts, pa.large_string())}), 1, None)
    made.execute("face", SubstringDedup(length=12), {})
    assert made.columns["/grams.some"].to_pylist() == [True, True]
    assert made.columns["/contested.some"].to_pylist() == [False, False]
    assert made.columns["/face.cuts"].to_pylist() == [None, None]


def test_spans_are_the_windows_that_stand_earlier() -> None:
    assert column("/spans.begin") == [[], [1], [1], []]
    assert column("/spans.last") == [[], [7], [3], []]
    assert column("/spans.uids") == [[], [0], [0], []]
    assert column("/spans.some") == [False, True, True, False]


def test_cuts_and_their_evidence() -> None:
    out = world(min_tokens=2)
    face = {name: out.columns[f"/face.{name}"].to_pylist() for name in SpanCuts().adds}
    assert face["cuts"] == [
        None,
        [{"start": 2, "end": 22, "text": ""}],
        [{"start": 2, "end": 14, "text": ""}],
        None,
    ]
    assert face["copies"] == [
        None,
        [{"start": 2, "end": 21, "uid": 0}],
        [{"start": 2, "end": 13, "uid": 0}],
        None,
    ]
    assert face["bytes_cut"] == [None, 20, 12, None]
    assert face["spans_cut"] == [None, 1, 1, None]
    assert face["drop"] == [None] * 4


def test_the_summaries_do_not_depend_on_how_messages_are_grouped() -> None:
    """Associative and commutative: partial summaries in any order give the same."""
    rng = np.random.default_rng(3)
    first, start = rng.integers(0, 4, 60), rng.integers(0, 9, 60).astype(np.int32)
    batch = pa.RecordBatch.from_pydict({"first": pa.array(first), "start": pa.array(start)})
    whole = earliest(batch, np.array([0]))
    order = batch.take(pa.array(rng.permutation(60)))
    parts = pa.RecordBatch.from_pydict(earliest(order, np.array([0, 11, 12, 40])))
    assert earliest(parts, np.array([0])) == whole


def test_text_is_read_only_where_something_is_repeated() -> None:
    assert (RepeatedSegments.where, FirstWindows.where, SpanCuts.where) == (
        "/grams.some",
        "/contested.some",
        "/spans.some",
    )
    readers = [op for op in PARTS if "text" in op.reads]
    assert [type(op) for op in readers] == [RepeatedGrams, RepeatedSegments, FirstWindows, SpanCuts]


PARTS: list[ColumnOp] = [
    RepeatedGrams(),
    RepeatedSegments(),
    FirstSegments(),
    ContestedCores(),
    FirstWindows(),
    RepeatedSpans(),
    SpanCuts(),
]


def test_every_exchange_is_a_reduction() -> None:
    """So a key with half of all messages costs one message a task."""
    assert sum(isinstance(op, ReduceOp) for op in PARTS) == 4
