"""Labels out of a file meet the rows by id as in a Python dictionary, and whatever is wrong is named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_engine import World, find

from operators.known_labels import KnownLabels
from operators.label_lookup import LabelLookup
from operators.label_table import LabelTable
from pipeline.config import load_config
from pipeline.errors import DataError
from pipeline.progress import Progress
from pipeline.run import RunOptions, run

IDS = st.sampled_from(["a", "b", "c", "ü", "", "12", "a" * 200])
LABELS = st.sampled_from([None, "", "  ", "yes", "no", "vielleicht"])


def joined(rows: pa.Table, file: pa.Table, batch_rows: int = 2, **fields: Any) -> tuple[pa.Table, Any]:
    """What an engine does with the parts, the table in the place of the file; and the artifact."""
    world = World(rows, batch_rows, None)
    for part in KnownLabels(file="labels.csv", **fields).parts():
        where = World(file, batch_rows, None) if part.source else world
        where.execute(part.name, find(part.op)(**part.fields), part.uses)
        world.artifacts.update(where.artifacts)
    columns = {name: world.columns[f"/lookup.{name}"] for name in ("label", "known")}
    return pa.table(columns), world.artifacts["lookup"]


def told(state: Any) -> str:
    return LabelLookup().tell(state)


@given(st.lists(IDS | st.none(), max_size=12), st.dictionaries(IDS, LABELS, max_size=7), st.integers(1, 5))
def test_it_is_a_dictionary(ids: list[str | None], labels: dict[str, str | None], batch_rows: int) -> None:
    rows = pa.table({"id": pa.array(ids, pa.string())})
    file = pa.table({"id": pa.array(labels, pa.string()), "label": pa.array(labels.values(), pa.string())})
    filled = {key: value for key, value in labels.items() if value and value.strip()}
    found, state = joined(rows, file, batch_rows, unknown="tell")
    assert found["label"].to_pylist() == [filled.get(key) if key is not None else None for key in ids]
    assert found["known"].to_pylist() == [key in filled for key in ids]
    assert len(state["missing"]) == len(filled.keys() - set(ids))
    assert state["blank"][0] == len(labels) - len(filled)


def test_numbers_and_booleans_are_met_as_text() -> None:
    file = pa.table({"id": pa.array([3, 1], pa.int32()), "label": [True, False]})
    for ids in (
        pa.array([1, 2, 3]),
        pa.array(["1", "2", "3"]),
        pa.array(["1", "2", "3"]).dictionary_encode(),
    ):
        assert joined(pa.table({"id": ids}), file)[0]["label"].to_pylist() == ["false", None, "true"]
    with pytest.raises(ValueError, match="the column 'id' holds double; cast it"):
        joined(pa.table({"id": [1.0, 3.0]}), file)


def test_other_columns_can_be_named() -> None:
    file = pa.table({"domain": ["web"], "kind": ["noisy"]})
    rows = pa.table({"id": ["a", "b", "c"], "domain": ["web", "wiki", "web"]})
    found, _ = joined(rows, file, id="domain", label="kind", on="domain")
    assert found["label"].to_pylist() == ["noisy", None, "noisy"]


@pytest.mark.parametrize("batch_rows", [1, 2, 9])
def test_two_rows_of_an_id_must_agree(batch_rows: int) -> None:
    rows = pa.table({"id": ["a", "b"]})
    file = pa.table({"id": ["a", "b", "a", "a"], "label": ["x", "y", None, "x"]})
    assert joined(rows, file, batch_rows)[0]["label"].to_pylist() == ["x", "y"]
    file = pa.table({"id": ["a", "b", "a"], "label": ["x", "y", "z"]})
    with pytest.raises(ValueError, match="two things of the id 'a': 'x' in row 0 and 'z' in row 2; keep one"):
        joined(rows, file, batch_rows)


def test_the_table_is_the_same_for_any_tree_of_merges() -> None:
    op, n = LabelTable(), 40
    ids, labels = [f"id{i % 30}" for i in range(n)], [f"label{i % 30 % 4}" for i in range(n)]
    columns = {"uid": pa.array(range(n)), "id": pa.array(ids), "label": pa.array(labels)}
    rows = pa.RecordBatch.from_pydict(columns)
    whole = op.fold(rows, {})
    parts = [op.fold(rows.slice(start, 7), {}) for start in range(0, 49, 7)]
    left = parts[0]
    for part in parts[1:]:
        left = op.merge(left, part)
    right = parts[-1]
    for part in parts[-2::-1]:
        right = op.merge(right, part)
    for name, values in whole.items():
        assert np.array_equal(values, left[name]), name
        assert np.array_equal(values, right[name]), name
    names = [name[:-1].decode() for name in whole["names"][whole["code"]]]
    shown = [name[:-1].decode() for name in whole["shown"]]
    assert dict(zip(shown, names, strict=True)) == dict(zip(ids, labels, strict=True))
    assert whole["row"].tolist() == [int(one.removeprefix("id")) for one in shown]


def test_an_id_that_no_row_has_is_an_error_or_told() -> None:
    rows, file = pa.table({"id": ["a", "b"]}), pa.table({"id": ["a", "B", None], "label": ["x", "y", None]})
    with pytest.raises(ValueError, match=r"1 of 2 labelled ids belong to no row here: 'B' \(row 1\)"):
        joined(rows, file)
    found, state = joined(rows, file, unknown="tell")
    assert found["label"].to_pylist() == ["x", None]
    assert told(state).splitlines() == [
        "1 of 2 rows have a label: 'x' 1, 'y' 0",
        "1 rows of the file have no label yet",
        "1 of 2 labelled ids belong to no row here: 'B' (row 1)",
    ]
    assert told(joined(rows.slice(0, 0), file)[1]).startswith("0 of 0 rows have a label")


def test_bad_rows_of_the_file_are_named() -> None:
    rows = pa.table({"id": ["a"]})
    with pytest.raises(ValueError, match="row 1 of the labels has the label 'y' but no id: fill it in"):
        joined(rows, pa.table({"id": ["a", None], "label": ["x", "y"]}))
    with pytest.raises(ValueError, match=r"row 0 of the labels: the label 'xxx.*is 300 bytes long"):
        joined(rows, pa.table({"id": ["a"], "label": ["x" * 300]}))


def test_the_columns_of_a_corpus_are_computed_once_while_labels_grow(tmp_path: Path) -> None:
    ids = [f"r{i}" for i in range(9)]
    texts = pa.table({"id": ids, "text": [f"some words of row {i}" for i in range(9)]})
    pq.write_table(texts, tmp_path / "rows.parquet")
    nodes = "{embed: {op: embed, model: MODEL, pooling: mean}, known: {op: known_labels, file: labels.csv}}"
    model = Path(__file__).parents[2] / "configs" / "quickstart" / "stories260K"
    config = tmp_path / "round.yaml"
    config.write_text(
        f"source: {{path: rows.parquet, id: id, text: text}}\nnodes: {nodes}\n"
        "export: {path: out/, format: jsonl.zst, columns: [label, known]}\n".replace("MODEL", str(model))
    )
    for number, lines in enumerate((["r1,yes"], ["r1,yes", "r5,no", "r7,"])):
        (tmp_path / "labels.csv").write_text("id,label\n" + "\n".join(lines) + "\n")
        data = run(load_config(config), RunOptions(workers=1, device="cpu"), Progress(quiet=True))
        nodes_ = {node["name"]: node for node in data["nodes"]}
        assert nodes_["embed"]["computed_rows"] == (9 if number == 0 else 0)
        assert nodes_["known"]["computed_rows"] == 9
    assert re.match("2 of 9 rows have a label: 'no' 1, 'yes' 1\n1 rows of the file", nodes_["known"]["tells"])
    (tmp_path / "labels.csv").write_text("id,label\nr99,yes\n")
    with pytest.raises(DataError, match=r"belong to no row here: 'r99' \(row 0\)"):
        run(load_config(config), RunOptions(workers=1, device="cpu"), Progress(quiet=True))
