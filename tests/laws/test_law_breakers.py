"""Operators that break one law each, as a user might write them: the law sees it and says what is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent, indent

import pytest

from pipeline.catalog import OpSpec, find
from pipeline.engine import Engine
from pipeline.errors import DataError
from pipeline.law_bench import Bench, trials
from pipeline.law_compare import compare, given
from pipeline.law_runs import Subject
from pipeline.law_zombie import LateStore, ZombieEngine
from pipeline.laws import check_file

HEAD = '''
"""A user's operator."""
import itertools
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import model_serializer
from operators.contract import DROP, TEXT, FoldOp, Kind, MapOp, ReduceOp, Emission, drop_column

calls = itertools.count()

class Mine({shape}):
    """Adds a number."""
    factor: int = 2
    """What to multiply by."""
    @property
    def reads(self):
        return {{"text": TEXT, "words": pa.int64()}}
    @property
    def adds(self):
        return {{"n": pa.int64()}}
'''
FOLD = """
    @property
    def state_bytes(self):
        return 8
    def fold(self, batch, uses):
        return {"n": np.array([batch.num_rows])}
    def finish(self, state, uses):
        return state
    def columns(self, batch, state):
        return {"n": pa.array(np.full(batch.num_rows, state["n"][0]))}
"""


def mine(body: str, shape: str = "MapOp") -> str:
    return HEAD.format(shape=shape) + indent(dedent(body), "    ")


GOOD = """
def columns(self, batch, uses):
    return {"n": pc.multiply(batch.column("words"), self.factor)}
"""
BROKEN = {
    "the place in the batch": (
        "def columns(self, batch, uses):\n    return {'n': pa.array(np.arange(batch.num_rows))}",
        {
            "rows": r"mine_0: the batch and the reversed one: n\[0\] is 59, then 0",
            "cut": "n of row 7 is 7 with 1 file",
        },
    ),
    "another number every time": (
        "def columns(self, batch, uses):\n    return {'n': pa.array(np.full(batch.num_rows, next(calls)))}",
        {"columns": "the same batch twice: n", "retry": "n of row 0 is .* with single attempts"},
    ),
    "a type that was not promised": (
        "def columns(self, batch, uses):\n    return {'n': batch.column('words').cast(pa.int32())}",
        {"rows": r"ValueError: columns gave n as int32 x 1, but promised int64 x 1; `on_error"},
    ),
    "a row too few": (
        "def columns(self, batch, uses):\n    return {'n': batch.column('words').drop_null()[1:]}",
        {"rows": "columns gave n as int64 x 0, but promised int64 x 1"},
    ),
    "nulls forgotten": (
        """
        def columns(self, batch, uses):
            return {"n": pa.array([len(t) for t in batch.column("text").to_pylist()])}
        """,
        {"rows": r"DataError: mine_0 \(.*mine.py\) failed on .*part-000.parquet:row 0: TypeError"},
    ),
    "empty batches forgotten": (
        """
        def columns(self, batch, uses):
            least = min(batch.column("words").to_pylist())
            return {"n": pc.add(batch.column("words"), least - least)}
        """,
        {"columns": r"mine_0 \(Mine\) on a batch without rows fails: ValueError: min.* \(.*mine.py:\d+\)"},
    ),
    "texts taken for UTF-8": (
        """
        def columns(self, batch, uses):
            return {"n": pa.array([len(t or "") for t in batch.column("text").to_pylist()], pa.int64())}
        """,
        {"columns": "on texts that are not UTF-8 fails: UnicodeDecodeError: .*mine.py"},
    ),
    "input changed in place": (
        """
        def columns(self, batch, uses):
            words = np.frombuffer(batch.column("words").buffers()[1], np.int64)
            words.setflags(write=True)
            words[:] += 1
            return {"n": pa.array(np.ones(batch.num_rows, np.int64))}
        """,
        {"columns": r"mine_0 \(Mine\) changed its input in place; copy before writing"},
    ),
    "a drop without a reason": (
        """
        @property
        def adds(self):
            return {"drop": DROP}
        def columns(self, batch, uses):
            return {"drop": drop_column(np.zeros(batch.num_rows), [""])}
        """,
        {"rows": "dropped with the reason ''; every drop says why"},
    ),
    "a field that no key sees": (
        GOOD + "@model_serializer\ndef short(self):\n    return {}\n",
        {"identity": "factor = None and 3 give the same key"},
    ),
    "an undocumented field": ("more: int = 1" + GOOD, {"form": "the field more has no docstring"}),
    "a drop column of another type": (
        "@property\ndef adds(self):\n    return {'drop': pa.string()}" + GOOD,
        {"form": "a drop column is DROP"},
    ),
    "columns that change": (
        "@property\ndef adds(self):\n    return {f'n{next(calls)}': pa.int64()}" + GOOD,
        {"form": "adds gives other columns the second time"},
    ),
}


def broken(folder: Path, text: str, name: str = "mine") -> dict[str, str]:
    """Law -> why it is broken."""
    (folder / f"{name}.py").write_text(text)
    return {law: why for law, holds, why in check_file(str(folder / name), ["local"]) if not holds}


@pytest.mark.parametrize("kind", BROKEN)
def test_the_law_says_what_is_wrong(kind: str, tmp_path: Path) -> None:
    body, laws = BROKEN[kind]
    found = broken(tmp_path, mine(body))
    for law, text in laws.items():
        assert law in found, found
        assert re.search(text, found[law]), found[law]


def test_a_good_one_breaks_none(tmp_path: Path) -> None:
    assert broken(tmp_path, mine(GOOD)) == {}


@pytest.mark.parametrize(
    ("merge", "text"),
    [
        ("return {'n': a['n'] + b['n']}", None),
        (
            "return {'n': a['n'] - b['n']}",
            r"mine_0: the summaries \(a\+b\)\+c and a\+\(b\+c\) differ: n\[0\]",
        ),
        ("return {'n': np.array([*a['n'], *b['n']])}", r"and c\+\(b\+a\) differ: n\[0\] is 20 and 30"),
    ],
)
def test_summaries_merge_in_any_order(merge: str, text: str | None, tmp_path: Path) -> None:
    found = broken(tmp_path, mine(FOLD + f"    def merge(self, a, b):\n        {merge}\n", "FoldOp"))
    if text is None:
        assert found == {}
    else:
        assert re.search(text, found["cut"])


def test_columns_that_the_corpus_has_not_are_made_up(tmp_path: Path) -> None:
    body = """
    @property
    def reads(self):
        return {"quality": Kind.NUMBER, "tags": pa.list_(pa.int64()), "loss.loss": pa.float32()}
    def columns(self, batch, uses):
        return {"n": pc.fill_null(pc.list_value_length(batch.column("tags")), 0).cast(pa.int64())}
    """
    (tmp_path / "mine.py").write_text(mine(body))
    results = check_file(str(tmp_path / "mine.py"), ["local"])
    assert all(holds for _, holds, _ in results), results
    told = {law: text for law, _, text in results}
    assert told["columns"].endswith("made up: quality, tags, loss.loss")


def subject(folder: Path) -> Subject:
    (folder / "mine.py").write_text(mine(GOOD))
    spec: OpSpec = find("./mine.py", folder)
    return Subject(trials(spec, folder)[0], Bench(folder / "bench"))


def test_zombies_write_other_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the real attempt in their midst the zombies win, and the run sees it."""
    tried = subject(tmp_path)
    monkeypatch.setattr(LateStore, "_wake", lambda self: None)
    with pytest.raises(DataError, match="n has no value"):
        given(tried.run(1, wrap=ZombieEngine))


def test_both_attempts_of_every_task_run(tmp_path: Path) -> None:
    tried, made = subject(tmp_path), list[ZombieEngine]()

    def wrap(engine: Engine) -> Engine:
        made.append(ZombieEngine(engine))
        return made[0]

    compare(tried.given, given(tried.run(3, wrap=wrap)), ("alone", "with zombies"))
    assert made[0].zombies == 3
