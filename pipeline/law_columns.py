"""The law of columns: what an operator gives for any rows, and that it leaves alone what it gets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from operators.contract import TEXT, LoopOp
from pipeline.law_bench import BrokenLaw
from pipeline.law_compare import given
from pipeline.law_corpus import all_null, big_text, broken_texts, corpus, with_columns
from pipeline.law_direct import Case, content, tried
from pipeline.law_runs import Subject

BIG_BYTES, BIG_MODEL_BYTES = 10_000_000, 1_000_000


def columns(subject: Subject) -> str:
    """Law 5: exactly the columns and types of `adds`, for any rows; what goes in is left as it was."""
    for case in subject.cases:
        _untouched(case)
        _empty(case)
        _hostile(case, big=subject.trial.number == 0)
    made = _edges(subject)
    return "empty batches, one row, nulls, broken UTF-8, long documents" + (
        f"; made up: {', '.join(made)}" if made else ""
    )


def _untouched(case: Case) -> None:
    before = content(case.batch, case.uses)
    with case.tried("the corpus"):
        first = case.answer(case.batch)
        case.agree(first, case.answer(case.batch), "the same batch twice")
    if content(case.batch, case.uses) != before:
        raise BrokenLaw(
            f"{case.name} ({type(case.op).__name__}) changed its input in place; copy before writing"
        )


def _empty(case: Case) -> None:
    schema = case.batch.schema
    with case.tried("a batch without rows"):
        case.answer(case.batch.slice(0, 0))
        case.answer(pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema))


def _hostile(case: Case, big: bool) -> None:
    names = [name for name, kind in case.op.reads.items() if kind == TEXT]
    if not names or isinstance(case.op, LoopOp) or not case.batch.num_rows:
        return
    for what, batch in _texts(case, names, big):
        with case.tried(what):
            case.touch(batch)


def _texts(case: Case, names: Sequence[str], big: bool) -> Iterator[tuple[str, pa.RecordBatch]]:
    n = case.batch.num_rows
    yield "texts that are not UTF-8", _with(case.batch, names, broken_texts(n))
    yield "texts that are all null", _with(case.batch, names, pa.nulls(n, TEXT))
    if big:
        size = BIG_MODEL_BYTES if case.model is not None else BIG_BYTES
        yield (
            f"a text of {size:,} bytes",
            _with(case.batch.slice(0, 1), names, pa.array([big_text(size)], TEXT)),
        )


def _with(batch: pa.RecordBatch, names: Sequence[str], texts: pa.Array) -> pa.RecordBatch:
    for name in names:
        batch = batch.set_column(batch.schema.get_field_index(name), name, texts)
    return batch


def _edges(subject: Subject) -> list[str]:
    """Runs over no rows, one row and nulls only; the columns that had to be made up."""
    trial, bench = subject.trial, subject.bench
    table, made = with_columns(corpus(), trial.reads())
    mark = "-".join(["edge", *made]).replace("/", "_")
    for what, edge in (
        ("no rows", table.slice(0, 0)),
        ("one row", table.slice(12, 1)),
        ("nulls", all_null(table, 5)),
    ):
        source = bench.source(edge, 1, f"{mark}-{what.replace(' ', '-')}")
        with tried(f"a source with {what}", type(trial.operator)):
            given(bench.run_local([trial], source))
    return made
