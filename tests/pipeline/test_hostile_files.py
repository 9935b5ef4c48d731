"""Files that somebody else could write, in the store and in a source, run nothing when they are read."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from whole_runs import corpus, go, read_export, write_config

from pipeline.store import Store


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_the_bomb_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "ran")))
    assert (tmp_path / "ran").is_dir()


def test_a_pickle_in_a_stored_artifact_is_not_run(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    store.put_artifact("nodes/k/artifact.json", {"centres": np.zeros(3)})
    bomb = io.BytesIO()
    np.savez(bomb, centres=np.array([Bomb(tmp_path / "ran")], dtype=object))
    replaced = 0
    for path in (tmp_path / "store").rglob("*"):
        if path.is_file() and path.suffix != ".json":
            path.chmod(0o644)
            path.write_bytes(bomb.getvalue())
            replaced += 1
    assert replaced == 1
    with pytest.raises(Exception, match=r"checksum|differ|damaged|allow_pickle|changed"):
        Store(str(tmp_path / "store")).get_artifact("nodes/k/artifact.json")
    assert not (tmp_path / "ran").exists()


def test_a_pickled_type_in_a_source_is_not_run(tmp_path: Path) -> None:
    table = corpus(40)
    hostile = pa.field("score", pa.float64(), metadata={
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Bomb(tmp_path / "ran")),
    })  # fmt: skip
    schema = table.schema.set(table.schema.get_field_index("score"), hostile)
    (tmp_path / "in").mkdir()
    pq.write_table(pa.Table.from_arrays(table.columns, schema=schema), tmp_path / "in/part-0.parquet")
    text = """
        source: {path: in/*.parquet, id: id}
        export: {path: out, columns: []}
        nodes: {exact: {op: exact_dedup}}
    """
    data = go(write_config(tmp_path, text))
    assert len(read_export(tmp_path / "out")) == data["kept"] > 0
    assert not (tmp_path / "ran").exists()
