"""Source files that change, go, move or come: refused by name or taken up, never misaligned."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from whole_runs import documents, go, nodes_of, read_export, write_config

from pipeline.cli import main

DAG = """
    source: {path: 'in/*', text: text, id: id, shard_bytes: 1}
    nodes:
      size:  {op: ./count_letters.py}
      exact: {op: exact_dedup}
    export: {path: out/, columns: [letters]}
"""
COUNT = '''
from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from operators.contract import TEXT, Adds, Columns, MapOp, Reads, Uses


class CountLetters(MapOp):
    """Counts characters."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        return {"letters": pa.int64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        return {"letters": pc.cast(pc.utf8_length(batch.column("text")), pa.int64())}
'''


def rows_of(number: int) -> pa.Table:
    """Ten texts of different lengths, among them one that every file has."""
    texts = ["everywhere"] + [f"{number:03d}" + "x" * (number + i) for i in range(9)]
    table = documents(texts)
    return table.set_column(0, "id", pa.array([f"{number}/{i}" for i in range(10)]))


def write(path: Path, table: pa.Table) -> None:
    """Plainly, so that equally long texts give equally long files, even with equal footers."""
    pq.write_table(table, path, compression="none", use_dictionary=False, write_statistics=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three files that have been run over once."""
    (tmp_path / "in").mkdir()
    for number in range(3):
        write(tmp_path / f"in/{number}.parquet", rows_of(number))
    (tmp_path / "count_letters.py").write_text(COUNT)
    write_config(tmp_path, DAG)
    monkeypatch.chdir(tmp_path)
    go(tmp_path / "c.yaml")
    return tmp_path


def check_aligned(folder: Path, rows: int) -> list[str]:
    """Every exported row has its own text's column; the ids."""
    found = read_export(folder / "out")
    assert [row["letters"] for row in found] == [len(row["text"]) for row in found]
    assert len(found) == rows
    return [row["id"] for row in found]


def remove(folder: Path) -> None:
    (folder / "in/1.parquet").unlink()


def change_in_place(folder: Path) -> None:
    """Another text of the same length: the file's size stays."""
    path = folder / "in/1.parquet"
    size = path.stat().st_size
    rows = rows_of(1).to_pydict()
    rows["text"] = [text.replace("001", "one") for text in rows["text"]]
    write(path, pa.table(rows))
    assert path.stat().st_size == size
    os.utime(path, (0, 0))  # the time of the last write says nothing


def rename(folder: Path) -> None:
    (folder / "in/1.parquet").rename(folder / "in/9.parquet")


def swap(folder: Path) -> None:
    """The same files in another order of names."""
    (folder / "in/1.parquet").rename(folder / "in/held")
    (folder / "in/2.parquet").rename(folder / "in/1.parquet")
    (folder / "in/held").rename(folder / "in/2.parquet")


CHANGES: list[tuple[Callable[[Path], None], list[str], int]] = [
    (remove, ["in/1.parquet is gone"], 19),
    (change_in_place, ["in/1.parquet changed"], 28),
    (rename, ["in/1.parquet is gone"], 28),
    (swap, ["in/1.parquet changed", "in/2.parquet changed"], 28),
]


@pytest.mark.parametrize(("change", "said", "left"), CHANGES, ids=[c[0].__name__ for c in CHANGES])
def test_a_changed_source_is_refused_by_name_until_it_is_accepted(
    folder: Path,
    change: Callable[[Path], None],
    said: list[str],
    left: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = check_aligned(folder, 28)
    change(folder)
    for command in ("run", "plan"):
        assert main([command, "c.yaml"]) == 3
        error = capsys.readouterr().err
        assert all(line in error for line in said)
        assert error.count("in/") == len(said)
        assert "--accept-source" in error
    assert check_aligned(folder, 28) == before  # nothing was touched
    assert main(["run", "c.yaml", "--accept-source"]) == 0
    after = check_aligned(folder, left)
    assert set(after) <= set(before)
    assert main(["run", "c.yaml"]) == 0  # it is the source now


def test_a_file_that_is_added_is_the_only_one_computed_and_uids_stay(folder: Path) -> None:
    before = check_aligned(folder, 28)
    write(folder / "in/0-new.parquet", rows_of(3))  # sorts before all others but comes after them
    data = go(folder / "c.yaml")
    assert data["source"]["rows"] == 40
    assert nodes_of(data)["size"]["computed_rows"] == 10
    assert nodes_of(data)["size"]["cached_rows"] == 30
    after = check_aligned(folder, 37)
    assert after[:28] == before
    assert {id.split("/")[0] for id in after[28:]} == {"3"}


def test_a_file_that_changes_under_a_run_is_noticed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change = f"with open({str(folder / 'in/2.parquet')!r}, 'ab') as file:\n            file.write(b'more')"
    source = COUNT.replace("CountLetters", "Change").replace(
        '        return {"l', f'        {change}\n        return {{"l'
    )
    (folder / "change.py").write_text(source)
    assert main(["run", "c.yaml", "--set", "nodes.size.op=./change.py", "--workers", "1"]) == 3
    error = capsys.readouterr().err
    assert "in/2.parquet cannot be read" in error


def test_a_malformed_line_is_named_by_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    lines = [f'{{"id": "{i}", "text": "text {i}"}}' for i in range(5)]
    (tmp_path / "in/a.jsonl").write_text("\n".join([*lines[:3], '{"id": "3", "text": ', lines[4]]) + "\n")
    config = write_config(
        tmp_path, "source: {path: in, id: id}\nnodes: {exact: {op: exact_dedup}}\nexport: {path: out}\n"
    )
    assert main(["run", str(config)]) == 3
    assert "a.jsonl:4" in capsys.readouterr().err
    (tmp_path / "in/a.jsonl").write_text("\n".join([*lines, lines[0]]) + "\n")
    assert main(["run", str(config)]) == 0
    rows: list[dict[str, Any]] = read_export(tmp_path / "out")
    assert [row["text"] for row in rows] == [f"text {i}" for i in range(5)]
    out = capsys.readouterr()
    assert "6 documents in 1 files" in out.err
    assert main(["run", str(config)]) == 0
    assert "turning" not in capsys.readouterr().err  # converted once
