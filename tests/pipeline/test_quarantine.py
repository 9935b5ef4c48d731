"""Rows at which an operator fails: an error that names them, or set aside with the traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from whole_runs import documents, go, nodes_of, plan_text, read_export, write_config, write_cut

from pipeline.cli import main
from pipeline.errors import ConfigError

DAG = """
    source: {{path: in, text: text, id: id, shard_bytes: 1}}
    nodes:
      exact:  {{op: exact_dedup}}
      parsed: {{op: ./{op}.py, on_error: {on_error}}}
      long:   {{op: length_filter, unit: words, min: 2}}
    export: {{path: out/, columns: [parsed.number], dropped: gone/}}
"""
OPERATORS = {
    "parse_map": '''
from operators import contract as c
import pyarrow as pa


class ParseMap(c.MapOp):
    """The number that a text begins with."""

    @property
    def reads(self) -> c.Reads:
        return {"text": c.TEXT}

    @property
    def adds(self) -> c.Adds:
        return {"number": pa.int64()}

    def columns(self, batch: pa.RecordBatch, uses: c.Uses) -> c.Columns:
        return {"number": pa.array([int(t.split()[0]) for t in batch.column("text").to_pylist()], pa.int64())}
''',
    "parse_score": '''
from typing import Any
from operators import contract as c
import pyarrow as pa


class ParseScore(c.ScoreOp):
    """The number that a text begins with."""

    @property
    def reads(self) -> c.Reads:
        return {"text": c.TEXT}

    @property
    def adds(self) -> c.Adds:
        return {"number": pa.int64()}

    def load(self, device: str) -> Any:
        return int

    def prepare(self, batch: pa.RecordBatch, model: Any) -> pa.RecordBatch:
        return batch

    def columns(self, batch: pa.RecordBatch, model: Any) -> c.Columns:
        numbers = [model(t.split()[0]) for t in batch.column("text").to_pylist()]
        return {"number": pa.array(numbers, pa.int64())}
''',
}
BAD = [17, 500, 501, 999]  # of 1,000


def prepare(folder: Path, op: str, on_error: str) -> Path:
    texts = [f"{i} words" if i % 10 else f"{i}" for i in range(1000)]
    for row in BAD:
        texts[row] = f"x{row} is no number"
    texts[3] = texts[2]
    write_cut(folder / "in", documents(texts), files=4)
    for name, source in OPERATORS.items():
        (folder / f"{name}.py").write_text(source)
    return write_config(folder, DAG.format(op=op, on_error=on_error))


@pytest.mark.parametrize("op", OPERATORS)
def test_one_bad_sample_is_an_error_that_names_it(
    tmp_path: Path, op: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(prepare(tmp_path, op, "stop")), "--workers", "1"]) == 3
    error = capsys.readouterr().err
    assert f"parsed (./{op}.py) failed on {tmp_path}/in/part-000.parquet:row 17: ValueError" in error
    assert "'x17'" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("op", "engine"),
    [
        ("parse_map", "local"),
        ("parse_score", "local"),
        pytest.param("parse_map", "ray", marks=pytest.mark.ray),
    ],
)
def test_quarantine_sets_aside_exactly_the_culprits_and_the_books_balance(
    tmp_path: Path, op: str, engine: str, request: pytest.FixtureRequest
) -> None:
    if engine == "ray":
        request.getfixturevalue("ray_engine")
    data = go(prepare(tmp_path, op, "quarantine"), engine=engine, batch_rows=64)
    nodes = nodes_of(data)
    for node in nodes.values():
        assert node["rows_in"] == node["rows_out"] + sum(node["dropped"].values()) + node["quarantined"]
    assert nodes["parsed"]["quarantined"] == len(BAD)
    assert nodes["exact"]["dropped"] == {"exact_duplicate": 1}
    assert nodes["long"]["dropped"] == {"too_short": 100 - BAD.count(500)}
    kept = read_export(tmp_path / "out")
    assert [row["parsed.number"] for row in kept] == [int(row["text"].split()[0]) for row in kept]
    gone = read_export(tmp_path / "gone")
    aside = [row for row in gone if row["dropped_by"] == "parsed"]
    assert [row["id"] for row in aside] == [f"doc-{row}" for row in BAD]
    for row, number in zip(aside, BAD, strict=True):
        assert row["reason"] == "quarantine"
        assert "Traceback" in row["evidence"]
        assert f"'x{number}'" in row["evidence"]
    assert len(kept) + len(gone) == 1000


def test_a_run_that_set_rows_aside_ends_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(prepare(tmp_path, "parse_map", "quarantine"))]) == 0
    assert "quarantine" in capsys.readouterr().out


def test_work_done_before_the_error_is_kept(tmp_path: Path) -> None:
    config = prepare(tmp_path, "parse_map", "stop")
    assert main(["run", str(config)]) == 3
    data = go(config, ["nodes.parsed.on_error=quarantine"])
    assert nodes_of(data)["exact"]["computed_rows"] == 0


def test_an_operator_that_needs_all_rows_takes_no_quarantine(tmp_path: Path) -> None:
    write_cut(tmp_path / "in", documents(["a b", "a b"]), files=1)
    nodes = "nodes: {exact: {op: exact_dedup, on_error: quarantine}}"
    config = write_config(tmp_path, f"source: {{path: in, id: id}}\n{nodes}\n")
    with pytest.raises(ConfigError, match=r"exact \(exact_dedup\) needs all rows to be good"):
        plan_text(config)


def test_a_shuffle_that_fails_says_where_its_batch_lies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cut(tmp_path / "in", documents(["a", "b"]), files=1)
    (tmp_path / "bad_emit.py").write_text(
        OPERATORS["parse_map"].split("class ")[0]
        + '''
class BadEmit(c.FoldOp):
    """Fails."""

    reads = property(lambda self: {"text": c.TEXT})
    adds = property(lambda self: {})
    state_bytes = property(lambda self: 0)

    def fold(self, batch, uses):
        return {"n": [1, 2][5 if batch.num_rows else 0]}

    def merge(self, a, b):
        return a

    def finish(self, state, uses):
        return state

    def columns(self, batch, state):
        return {}
'''
    )
    config = write_config(tmp_path, "source: {path: in}\nnodes: {bad: {op: ./bad_emit.py}}\n")
    assert main(["run", str(config)]) == 3
    assert "bad (./bad_emit.py) failed on" in (error := capsys.readouterr().err)
    assert "part-000.parquet:row 0 to " in error
    assert "IndexError: list index out of range" in error
