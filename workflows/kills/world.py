"""What is attacked: a small corpus, a DAG with every kind of step, and what a run of it leaves."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

QUICKSTART = Path(__file__).parents[2] / "configs/quickstart"
FILES = 4
# `vectors` and `loss` have a copy of the model for each worker, one thread each, on either engine.
CONFIG = """\
source: {{path: in/*.parquet, text: text, id: id, shard_bytes: 1}}
seed: 7
nodes:
  holdout: {{op: holdout, by: domain, share: 0.15}}
  exact:   {{op: exact_dedup}}
  words:   {{op: length_filter, unit: words, min: 5}}
  fuzzy:   {{op: minhash_dedup, threshold: 0.8}}
  loss:    {{op: lm_loss, model: {model}, max_tokens: 32, resources: {{workers: 2}}}}
  vectors:
    op: embed
    input: fuzzy
    model: {model}
    pooling: mean
    max_tokens: 16
    resources: {{workers: 2}}
  groups:  {{op: kmeans, input: vectors, clusters: 3}}
  head:    {{op: classifier_head, input: vectors, label: domain, folds: 2}}
  target:  {{op: dsir, input: fuzzy, target: target.jsonl, normalise: mean}}
  pick:
    op: importance
    input: [loss, target, groups, head]
    score: target.log_weight
    keep_rows: {keep}
    temperature: 0
  order:   {{op: curriculum, difficulty: length, pacing: root}}
export:
  - input: order
    path: out/
    format: parquet
    columns: [loss.loss, groups.cluster, head.predicted]
    file_bytes: 16KB
    dropped: gone/
  - {{input: fuzzy, path: kept/, format: index}}
"""
# One arm trains in the driver, two have a process each.
TRAIN = """\
train:
  input: order
  init: {model}
  tokens: 12k
  seq_len: 32
  batch_size: 4
  seeds: 1
  evals: 1
  eval_bytes: 1_000
  checkpoint_every: 16
  compare: [order]
"""
TWO_ARMS = ("--set", "train.compare=[random, order]")
BOOKED = ("name", "key", "rows_in", "rows_out", "bytes_in", "bytes_out", "tokens_in", "tokens_out", "dropped",
          "quarantined")  # fmt: skip
TRAINED = ("metrics.jsonl", "identity.json")


@dataclass(frozen=True)
class Left:
    """What a run left. files: name -> (hash, bytes); books: what it says of its rows."""

    files: dict[str, tuple[str, int]]
    books: dict[str, Any]
    unaccounted: int

    def differing(self, other: Left) -> dict[str, int]:
        """Files that only one has or that differ -> bytes; books that differ count as a file."""
        found = {}
        for name in self.files.keys() | other.files.keys():
            mine, its = self.files.get(name), other.files.get(name)
            if mine != its:
                found[name] = max(file[1] for file in (mine, its) if file is not None)
        for name, mine in self.books.items():
            if mine != (its := other.books.get(name)):
                found[f"books: {name}"] = _differing(json.dumps(mine), json.dumps(its))
        return found


@dataclass(frozen=True)
class World:
    """A folder with the corpus, the config and, after a run, all that it made."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, rows: int, train: bool = True) -> World:
        """Slices of the quickstart's sample, a shard a file; `rows` in all."""
        (folder / "in").mkdir(parents=True)
        for number in range(FILES):
            table = pq.read_table(QUICKSTART / f"sample/part-{number}.parquet")
            pq.write_table(table.slice(0, rows // FILES), folder / f"in/part-{number}.parquet")
        target = (QUICKSTART / "sample/target_python.jsonl").read_text("utf-8").splitlines(keepends=True)
        (folder / "target.jsonl").write_text("".join(target[:20]), "utf-8")
        text = (CONFIG + TRAIN if train else CONFIG).format(model=QUICKSTART / "stories260K", keep=rows // 4)
        (folder / "c.yaml").write_text(text)
        return cls(folder)

    @cached_property
    def asked(self) -> dict[str, str]:
        """The operators that the config names."""
        nodes = yaml.safe_load((self.folder / "c.yaml").read_text())["nodes"]
        return {name: node["op"] for name, node in nodes.items()}

    @property
    def store(self) -> Path:
        return self.folder / ".tamis"

    def clear(self) -> None:
        """Back to before the first run."""
        for name in (".tamis", "out", "gone", "kept"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def left(self) -> Left:
        """What is there after a run that ended well."""
        files = {str(p.relative_to(self.folder)): _digest(p) for p in self._files()}
        data = json.loads(max(self.store.glob("runs/*/run.json")).read_text("utf-8"))
        books = {name: data[name] for name in ("kept", "groups", "scores", "samples")}
        books |= {"source": data["source"], "nodes": [{n: node[n] for n in BOOKED} for node in data["nodes"]]}
        books["exports"] = [(export["rows"], export["files"], export["bytes"]) for export in data["exports"]]
        if data["train"]:
            books["train"] = {arm: found["curve"] for arm, found in data["train"]["arms"].items()}
        return Left(files, books, self._unaccounted(data))

    def _files(self) -> Iterator[Path]:
        """All data: columns, manifests, converted files, exports, what was trained on and what came of it,
        and temporary files that nobody took away."""
        for name in ("nodes", "manifests", "ingest", "exports", "train/data"):
            yield from (p for p in (self.store / name).rglob("*") if p.is_file())
        for name in ("out", "gone", "kept"):
            yield from (p for p in (self.folder / name).rglob("*") if p.is_file())
        for job in self.store.glob("train/compare-*/*"):
            yield from (p for p in job.rglob("*") if p.is_file() and self._is_trained(job, p))

    def _is_trained(self, job: Path, path: Path) -> bool:
        """What a trainer leaves that depends on no clock."""
        return path.name in TRAINED or bool({"model", "tokens", "checkpoints"} & set(path.parts))

    def _unaccounted(self, data: dict[str, Any]) -> int:
        """Rows that the books miss, and documents that are not exactly once in the export or among what
        was dropped."""
        missing = 0
        for node in data["nodes"]:
            gone = sum(node["dropped"].values()) + node["quarantined"]
            missing += abs(node["rows_in"] - node["rows_out"] - gone)
        want = Counter(_ids(self.folder / "in"))
        have = Counter([*_ids(self.folder / "out"), *_ids(self.folder / "gone")])
        return missing + (want - have).total() + (have - want).total()


def _ids(folder: Path) -> list[str]:
    files = sorted(folder.glob("part-*.parquet"))
    return [i for file in files for i in pq.ParquetFile(file).read(columns=["id"])["id"].to_pylist()]


def _differing(a: str, b: str) -> int:
    """Bytes in which two texts differ."""
    return sum(x != y for x, y in zip_longest(a, b))


def _digest(path: Path) -> tuple[str, int]:
    data = path.read_bytes()
    return hashlib.sha256(data).hexdigest(), len(data)
