"""Configs over months of a corpus, and the index that they are added to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from near_corpora import corpus
from whole_runs import go, read_export

from operators.kernels.near_index import Index
from pipeline.config import load_config
from pipeline.engine import Engine, make_engine
from pipeline.near_index import NearIndex, State
from pipeline.near_index_add import Added, add
from pipeline.prepare import RunOptions, open_store

# Bands that meet every pair, and no estimate near the threshold; `candidates` that bind.
SURE = "threshold: 0.485, ngram: 2, bands: 512, rows: 2, permutations: 1024, candidates: 2"
TEXTS = corpus(3, 160)
COPY = "the quick brown fox jumps over the lazy dog and runs far away from the hounds of winter"


class Month:
    """A config over some of the texts, with the index `known` beside it."""

    def __init__(
        self, folder: Path, name: str, texts: list[str], ids: Any = None, fields: str = SURE
    ) -> None:
        self.folder, self.name = folder, name
        (folder / name).mkdir(parents=True, exist_ok=True)
        named = [f"{name}-{i}" for i in range(len(texts))] if ids is None else ids
        columns = {"text": pa.array(texts, pa.string())} | ({} if named is False else {"id": named})
        pq.write_table(pa.table(columns), folder / name / "d.parquet")
        self.given = "" if named is False else ", id: id"
        self.write(fields)

    def write(self, fields: str, files: str = "") -> None:
        (self.folder / f"{self.name}.yaml").write_text(
            f"source: {{path: {files or self.name + '/*.parquet'}{self.given}}}\n"
            f"nodes:\n  fuzzy: {{op: minhash_dedup, {fields}}}\n"
            f"export: {{path: out-{self.name}, format: parquet}}\n"
        )

    @property
    def config(self) -> Path:
        return self.folder / f"{self.name}.yaml"

    def run(self, *sets: str) -> dict[str, Any]:
        return go(self.config, sets)

    def kept(self) -> list[str]:
        return [row["id"] for row in read_export(self.folder / f"out-{self.name}")]

    def add(self, engine: Engine | None = None, index: str = "known") -> Added:
        config = load_config(self.config)
        with_engine = engine or make_engine("local", 1)
        return add(
            NearIndex(self.folder / index), open_store(config, RunOptions()), config, None, None, with_engine
        )


def against(*indexes: str) -> str:
    return f"{SURE}, against: [{', '.join(indexes or ('known',))}]"


def known(folder: Path, index: str = "known") -> tuple[NearIndex, Index]:
    found = NearIndex(folder / index)
    return found, found.open(found.existing())


def ids(folder: Path) -> list[str]:
    return [
        n
        for _, chunk, there in known(folder)[1].chunks()
        for n in chunk.ids.filter(pa.array(there)).to_pylist()
    ]


def new_index(folder: Path) -> None:
    NearIndex(folder / "known").commit(State(), ())


def drops(data: dict[str, Any]) -> dict[str, int]:
    return {reason: n for node in data["nodes"] for reason, n in node["dropped"].items()}
