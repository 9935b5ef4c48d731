"""Labelled tables with embeddings, and their splits into a pool and held-out rows.

Legend: n rows, d numbers in an embedding, C labels.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.json as pj
import pyarrow.parquet as pq

from operators.kernels.counter import mix64, uniform
from pipeline.config import load_config
from pipeline.errors import ConfigError, DataError
from pipeline.progress import Progress
from pipeline.run import RunOptions, run

Int64s = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]

NO_LABEL = -1
_BLOCK = 1 << 26  # bytes that are read at once, and so the longest row of a CSV or JSONL file
_SPLIT = 0x73706C6974  # keeps apart from other uses of a seed


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are what, and where embeddings come from: the column `embedding`, or a file of
    (n, d) numbers, or a model folder for the operator `embed`."""

    text: str = "text"
    label: str = "label"
    id: str | None = None
    embedding: str | None = None
    file: Path | None = None
    model: str | None = None


@dataclass(frozen=True)
class Task:
    """ids: (n,) strings, all different. texts: (n,). label: (n,) places in `names` (C,), -1 where there is
    none (null or blank). x: (n, d), scaled so that the mean squared length is 1."""

    name: str
    ids: list[str]
    texts: list[str | None]
    label: Int64s
    names: list[str]
    x: Float32s

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def identity(self) -> str:
        """What results depend on."""
        mark = blake2b(digest_size=12)
        for part in (self.x.tobytes(), self.label.tobytes(), json.dumps([self.names, self.ids]).encode()):
            mark.update(part)
        return mark.hexdigest()


def read_table(path: Path, texts: Sequence[str] = ()) -> pa.Table:
    """A Parquet, CSV or JSONL file. ConfigError for another kind or a file that is not there.

    texts: columns whose values are taken as they are written: in CSV 007 is an id and true a label, in JSONL
    "2024-01-01" is no time."""

    def read_csv(file: Path) -> pa.Table:
        kinds = pv.ConvertOptions(column_types=dict.fromkeys(texts, pa.string()))
        whole = pv.ParseOptions(newlines_in_values=True)
        return pv.read_csv(file, pv.ReadOptions(block_size=_BLOCK), whole, kinds)

    def read_json(file: Path) -> pa.Table:
        large = pj.ReadOptions(block_size=_BLOCK)
        table = pj.read_json(file, large)
        times = [one for one in table.schema if one.name in texts and pa.types.is_timestamp(one.type)]
        kinds = pa.schema([(one.name, pa.string()) for one in times])
        return pj.read_json(file, large, pj.ParseOptions(explicit_schema=kinds)) if times else table

    readers = {".parquet": pq.read_table, ".csv": read_csv, ".jsonl": read_json, ".json": read_json}
    if path.suffix not in readers:
        raise ConfigError(f"{path}: a table ends in one of {', '.join(readers)}")
    if not path.is_file():
        raise ConfigError(f"no such file: {path}")
    try:
        return readers[path.suffix](path)
    except pa.ArrowException as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def load(path: Path, work: Path, columns: Columns, names: list[str] | None = None) -> Task:
    """The table as a task; embeddings by a model are computed once and kept in `work`.

    names: the labels that there may be, by default those of the table. DataError for ids that come twice, a
    label that is not among `names`, embeddings that are missing or as many as another table's."""
    table = read_table(path, [one for one in (columns.text, columns.label, columns.id) if one])
    for name in filter(None, (columns.text, columns.id, columns.embedding)):
        if name not in table.column_names:
            raise ConfigError(f"{path} has no column {name!r}; it has {', '.join(table.column_names)}")
    n = table.num_rows
    if columns.id and table[columns.id].null_count:
        raise DataError(
            f"{path}: {table[columns.id].null_count:,} rows have no {columns.id}; ids tell rows apart"
        )
    ids = [str(v) for v in table[columns.id].to_pylist()] if columns.id else [f"row-{i}" for i in range(n)]
    if len(set(ids)) < n:
        twice = Counter(ids).most_common(1)[0][0]
        raise DataError(f"{path}: the id {twice!r} comes twice; ids tell rows apart")
    given = table[columns.label].to_pylist() if columns.label in table.column_names else [None] * n
    labels = [None if one is None or not str(one).strip() else str(one) for one in given]
    known = sorted({one for one in labels if one is not None}) if names is None else names
    place = {name: i for i, name in enumerate(known)}
    for i, one in enumerate(labels):
        if one is not None and one not in place:
            raise DataError(f"{path}: row {i}: the label {one!r} is not one of {', '.join(known)}")
    label = np.array([NO_LABEL if one is None else place[one] for one in labels], np.int64)
    texts = [None if one is None else str(one) for one in table[columns.text].to_pylist()]
    x = _embeddings(path, table, ids, texts, work, columns)
    return Task(path.stem, ids, texts, label, known, x)


def _embeddings(
    path: Path, table: pa.Table, ids: list[str], texts: list[str | None], work: Path, columns: Columns
) -> Float32s:
    """(n, d) float32, of mean squared length 1."""
    if columns.embedding:
        rows = table[columns.embedding].to_pylist()
        if None in rows:
            raise DataError(f"{path}: row {rows.index(None)} has no {columns.embedding}; fill or drop it")
        x = np.asarray(rows, np.float32)
    elif columns.file:
        x = np.load(columns.file, allow_pickle=False).astype(np.float32)
    elif columns.model:
        x = embedded(ids, texts, work / f"embed-{path.stem}", columns.model)
    else:
        raise ConfigError("where are embeddings to come from: give a column, a .npy file, or a model folder")
    if x.ndim != 2 or len(x) != len(ids):
        raise DataError(
            f"{columns.file or path}: embeddings of shape {x.shape} for {len(ids):,} rows of {path}"
        )
    if not np.isfinite(x).all():
        row = int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0])
        raise DataError(f"{columns.file or path}: row {row} has no finite embedding; fill or drop it")
    scale = np.sqrt(np.mean(np.square(x, dtype=np.float64).sum(axis=1))) if len(x) else 1.0
    return np.asarray(x / np.float32(scale or 1.0), np.float32)


def embedded(ids: list[str], texts: list[str | None], folder: Path, model: str) -> Float32s:
    """(n, d) embeddings by the operator `embed`, computed once in the folder's store; zeros for texts
    without a token."""
    folder.mkdir(parents=True, exist_ok=True)
    write_if_new(pa.table({"id": ids, "text": pa.array(texts, pa.string())}), folder / "texts.parquet")
    settings = {
        "source": {"path": "texts.parquet", "id": "id", "text": "text"},
        "nodes": {
            "embed": {"op": "embed", "model": str(Path(model).resolve() if Path(model).exists() else model)}
        },
        "export": {"path": "out/", "format": "parquet", "columns": ["embedding"]},
    }
    found = run_config(folder / "embed.yaml", settings)
    parts = sorted((folder / "out").glob("part-*.parquet"))
    rows = pa.concat_tables([pq.ParquetFile(part).read(["embedding"]) for part in parts])["embedding"]
    width = max((len(one) for one in rows.to_pylist() if one is not None), default=1)
    assert found["kept"] == len(ids)
    return np.asarray([one or [0.0] * width for one in rows.to_pylist()], np.float32).reshape(len(ids), width)


def run_config(file: Path, settings: dict[str, Any], engine: str = "local") -> dict[str, Any]:
    """Writes the settings as a config, JSON being YAML, and runs it; the run data."""
    file.write_text(json.dumps(settings, indent=1, ensure_ascii=False))
    return run(load_config(file), RunOptions(engine=engine, workers=1, device="cpu"), Progress(quiet=True))


def write_if_new(table: pa.Table, file: Path) -> None:
    """Writes the table unless the file holds just that, so that a store's manifest stays valid."""
    if file.is_file() and pq.ParquetFile(file).read().equals(table):
        return
    waiting = file.with_suffix(".tmp")
    pq.write_table(table, waiting)
    waiting.replace(file)


@dataclass(frozen=True)
class Split:
    """pool, test: (p,), (t,) rows of the task, disjoint, ascending."""

    pool: Int64s
    test: Int64s


def split(task: Task, seed: int, test: int, pool: int | None) -> Split:
    """A random part of the labelled rows held out, and a random part of all others as the pool: of each row
    whether and where depends on (seed, id) alone. ConfigError where nothing would be left."""
    luck = uniform(seed ^ _SPLIT, keys(task.ids))
    order = np.argsort(luck, kind="stable")
    labelled = order[task.label[order] != NO_LABEL]
    if not 0 < test < len(labelled):
        raise ConfigError(
            f"{task.name}: {test:,} held-out rows of {len(labelled):,} labelled ones: take fewer"
        )
    held = labelled[:test]
    rest = order[~np.isin(order, held)][:pool]
    return Split(np.sort(rest), np.sort(held))


def keys(ids: list[str]) -> npt.NDArray[np.uint64]:
    """(n,) a number for each id, the same on every machine."""
    raw = [int.from_bytes(blake2b(one.encode(), digest_size=8).digest(), "big") for one in ids]
    return mix64(np.array(raw, np.uint64))


def write_pool(task: Task, rows: Int64s, file: Path) -> None:
    """These rows as a source for a DAG: id, text, embedding, and the columns `label` (null) and `known`
    (false) of a pool of which nobody knows a label yet."""
    columns = {
        "id": pa.array([task.ids[i] for i in rows], pa.string()),
        "text": pa.array([task.texts[i] for i in rows], pa.string()),
        "embedding": pa.array(list(task.x[rows]), pa.list_(pa.float32())),
        "label": pa.nulls(len(rows), pa.string()),
        "known": pa.array(np.zeros(len(rows), bool)),
    }
    write_if_new(pa.table(columns), file)
