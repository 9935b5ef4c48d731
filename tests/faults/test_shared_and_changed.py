"""Sources that change under a run, and runs that share a store: refused by name, or the same bytes."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from whole_runs import corpus, digests, documents, tamis, write_config, write_cut

from pipeline.cli import main

DAG = """
    source: {path: in/*.parquet, text: text, id: id, shard_bytes: 1}
    seed: 7
    nodes:
      first: {op: ./meddle.py}
      exact: {op: exact_dedup}
      long:  {op: length_filter, unit: words, min: 5}
    export: {path: out/, format: parquet}
"""
MEDDLE = '''
from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from operators.contract import TEXT, Adds, Columns, MapOp, Reads, Uses


class Meddle(MapOp):
    """Counts letters; the first batch meets somebody who changes the last file of the source."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        return {"letters": pa.int64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        new = Path("new.parquet")
        path = Path("in/part-003.parquet")
        what = Path("what").read_text()
        if what == "removed":
            path.unlink(missing_ok=True)
        elif what == "truncated":
            os.truncate(path, 100)
        elif new.exists():
            os.replace(new, path if what == "replaced" else "in/part-009.parquet")
        return {"letters": pc.cast(pc.utf8_length(batch.column("text")), pa.int64())}
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_cut(tmp_path / "in", corpus(80), files=4)
    pq.write_table(
        documents(["other words in another file"] * 20, domain=["web"] * 20, score=[0.0] * 20),
        tmp_path / "new.parquet",
    )
    (tmp_path / "meddle.py").write_text(MEDDLE)
    (tmp_path / "what").write_text("nothing")
    write_config(tmp_path, DAG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("what", ["replaced", "truncated", "removed"])
def test_a_file_that_changes_under_a_run_is_refused_and_the_run_goes_on_when_it_is_back(
    folder: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "in/part-003.parquet"
    before = path.read_bytes()
    (folder / "what").write_text(what)
    assert main(["run", "c.yaml", "--workers", "1"]) == 3
    assert "part-003.parquet" in capsys.readouterr().err
    assert not list((folder / "out").glob("part-*"))
    path.write_bytes(before)
    (folder / "what").write_text("nothing")
    (folder / "new.parquet").unlink(missing_ok=True)
    assert main(["run", "c.yaml"]) == 0
    found = digests(folder, "out")
    assert main(["run", "c.yaml", "--store", "fresh", "--set", "export.path=fresh-out/"]) == 0
    assert {
        Path(name).name: value for name, value in digests(folder, "fresh-out").items() if "part-" in name
    } == {Path(name).name: value for name, value in found.items() if "part-" in name}


def test_a_file_that_comes_under_a_run_waits_for_the_next_run(folder: Path) -> None:
    (folder / "what").write_text("added")
    assert main(["run", "c.yaml", "--workers", "1"]) == 0
    assert (folder / "in/part-009.parquet").exists()
    rows = sum(pq.ParquetFile(p).metadata.num_rows for p in (folder / "out").glob("part-*"))
    assert rows < 80
    assert main(["run", "c.yaml"]) == 0
    assert sum(pq.ParquetFile(p).metadata.num_rows for p in (folder / "out").glob("part-*")) == rows + 1


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_two_runs_at_once_on_one_store_give_what_one_gives(folder: Path, engine: str) -> None:
    (folder / "new.parquet").unlink()
    arguments = ["run", "c.yaml", "--engine", engine, *(["--address", "local"] if engine == "ray" else [])]
    assert main(["run", "c.yaml", "--store", "alone", "--set", "export.path=out-alone/"]) == 0
    paths = [[], ["--set", "export.path=out-b/", "--set", "nodes.long.min=5"]]
    runs = [tamis(folder, *arguments, *more) for more in paths]
    cleaner = tamis(folder, "clean", "--keep", "0")
    told = [run.communicate()[1].decode() for run in [*runs, cleaner]]
    assert [run.returncode for run in runs] == [0, 0], told

    def parts(name: str) -> dict[str, str]:
        return {Path(n).name: v for n, v in digests(folder, name).items() if "part-" in n}

    assert parts("out") == parts("out-b") == parts("out-alone")
