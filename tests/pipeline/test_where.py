"""`where`: rows that an operator does not want are not read, send nothing, and get nulls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from whole_runs import documents, go, nodes_of, write_config

from pipeline import reader
from pipeline.catalog import find
from pipeline.config import load_config
from pipeline.graph import Graph
from pipeline.law_bench import BrokenLaw
from pipeline.law_form import form
from pipeline.prepare import RunOptions, manifests
from pipeline.store import Store
from pipeline.view import ShardView

HEAD = """
from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.contract import TEXT, Adds, Columns, Emission, MapOp, Reads, ReduceOp, Uses
"""
OPERATORS = {
    "measure": '''
class Measure(MapOp):
    """The length of the wanted texts."""

    where = "wanted"

    @property
    def reads(self) -> Reads:
        return {"text": TEXT, "wanted": pa.bool_()}

    @property
    def adds(self) -> Adds:
        return {"length": pa.int64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        assert all(batch.column("wanted").to_pylist())
        if pc.any(pc.equal(batch.column("text"), "bad")).as_py():
            raise ValueError("a bad text")
        return {"length": pc.cast(pc.binary_length(batch.column("text")), pa.int64())}
''',
    "choose": '''
class Choose(MapOp):
    """Every third row."""

    @property
    def reads(self) -> Reads:
        return {"uid": pa.int64()}

    @property
    def adds(self) -> Adds:
        return {"third": pa.bool_()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        return {"third": pa.array(np.asarray(batch.column("uid")) % 3 == 0)}
''',
    "count_equal": '''
class CountEqual(ReduceOp):
    """How many of the chosen rows have the same text; null for the others."""

    where = "third"

    @property
    def reads(self) -> Reads:
        return {"text": TEXT, "third": pa.bool_()}

    @property
    def adds(self) -> Adds:
        return {"many": pa.int64()}

    @property
    def emits(self) -> Adds:
        return {"n": pa.int64()}

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        assert all(batch.column("third").to_pylist())
        key = np.array([int(t) for t in batch.column("text").to_pylist()], np.uint64)
        return Emission(np.arange(len(key)), key, {"n": pa.array(np.ones(len(key), np.int64))})

    def combine(self, messages: pa.RecordBatch, starts: np.ndarray) -> Columns:
        return {"n": pa.array(np.add.reduceat(np.asarray(messages.column("n")), starts))}

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        row = np.asarray(replies.column("row"))
        many, sent = np.zeros(batch.num_rows, np.int64), np.zeros(batch.num_rows, bool)
        many[row], sent[row] = np.asarray(replies.column("n")), True
        return {"many": pa.array(many, mask=~sent)}
''',
}


@pytest.fixture(autouse=True)
def operators(tmp_path: Path) -> None:
    for name, source in OPERATORS.items():
        (tmp_path / f"{name}.py").write_text(HEAD + source)


def columns(folder: Path, node: str, name: str) -> list[object]:
    """A node's stored column, over all shards."""
    config, store = load_config(folder / "c.yaml"), Store(str(folder / ".tamis"))
    found = manifests(config, store, RunOptions(), lambda _: None)
    column = Graph(config, found)
    key = column.build()[node]
    views = [ShardView(store, found[""], i) for i in range(len(found[""].shards))]
    return [v for view in views for v in view.table(key.key, key.positional)[name].to_pylist()]


def write(folder: Path, texts: list[str], wanted: list[bool | None], group: int) -> None:
    (folder / "in").mkdir()
    pq.write_table(documents(texts, wanted=wanted), folder / "in" / "x.parquet", row_group_size=group)


def test_only_wanted_rows_are_read_and_the_others_get_nulls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["bad" if i % 10 else "x" * i for i in range(100)]
    wanted = [None if i % 2 else (i % 10 == 0 and not 20 <= i < 70) for i in range(100)]
    write(tmp_path, texts, wanted, group=10)
    decoded: list[int] = []
    read = reader.View.decoded

    def watched(self: reader.View, part: object, units: object, unit: int, *sizes: int) -> object:
        decoded.extend([unit] if "text" in self.target.names else [])
        return read(self, part, units, unit, *sizes)

    monkeypatch.setattr(reader.View, "decoded", watched)
    head = "source: {path: in, text: text, shard_bytes: 1}\n"
    go(write_config(tmp_path, head + "nodes: {c: {op: ./choose.py}}\n"))
    assert sorted(decoded) == list(range(10))  # for the sizes of all texts
    decoded.clear()
    config = write_config(tmp_path, head + "nodes: {m: {op: ./measure.py}}\n")
    node = nodes_of(go(config))["m"]
    assert sorted(decoded) == [0, 1, 7, 8, 9]
    assert columns(tmp_path, "m", "length") == [i if w else None for i, w in enumerate(wanted)]
    assert node["computed_rows"] == 100
    assert nodes_of(go(config))["m"]["cached_rows"] == 100


def test_a_failing_row_is_set_aside_and_unwanted_rows_are_not_tried(tmp_path: Path) -> None:
    texts = ["bad" if i in (4, 7) else "x" * i for i in range(12)]
    write(tmp_path, texts, [i != 7 for i in range(12)], group=5)
    text = "source: {path: in, text: text}\nnodes: {m: {op: ./measure.py, on_error: quarantine}}\n"
    node = nodes_of(go(write_config(tmp_path, text)))["m"]
    assert node["quarantined"] == 1
    assert columns(tmp_path, "m", "length") == [None if i in (4, 7) else i for i in range(12)]
    assert columns(tmp_path, "m", "drop") == ["quarantine" if i == 4 else None for i in range(12)]


@pytest.mark.parametrize("group", [4, 100])
def test_only_chosen_rows_send_messages(tmp_path: Path, group: int) -> None:
    texts = [str(n) for n in np.random.default_rng(0).integers(0, 9, 80)]
    write(tmp_path, texts, [None] * 80, group)
    text = """
        source: {path: in, text: text, shard_bytes: 1}
        nodes: {c: {op: ./choose.py}, n: {op: ./count_equal.py}}
    """
    go(write_config(tmp_path, text))
    chosen = texts[::3]
    expected = [chosen.count(t) if i % 3 == 0 else None for i, t in enumerate(texts)]
    assert columns(tmp_path, "n", "many") == expected


def test_where_must_be_a_boolean_column_that_is_read(tmp_path: Path) -> None:
    source = OPERATORS["measure"].replace('"wanted": pa.bool_()', '"wanted": pa.int8()')
    (tmp_path / "measure.py").write_text(HEAD + source)
    with pytest.raises(BrokenLaw, match=r"where is 'wanted', but reads\['wanted'\] is not pa.bool_"):
        form(find("./measure.py", tmp_path), part=False)
