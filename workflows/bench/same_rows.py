"""Claim: however a corpus is cut and whatever runs it, the same documents stay, and rightly so.

    python -m workflows.bench.same_rows CORPUS.parquet PAIRS.parquet OUT

CORPUS has the columns id, domain and text; PAIRS lists every near-duplicate pair (id_a, id_b, jaccard5w).
Exact and near duplicates go, then the rest is undersampled and sampled by importance, in every way that
must not matter: 1 and 2 workers, batches of 7 and 4,096 rows, 1, 5 and 64 files, local and Ray. Prints the
kept documents of every way (they must be one set), and the near-duplicate figures against the pairs.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import load_config
from pipeline.progress import Progress
from pipeline.run import RunOptions, run
from workflows.bench.near_truth import greedy
from workflows.bench.truth import judge, read_pairs

CONFIG = """\
source: {{path: {folder}/*.parquet, id: id, shard_bytes: {shard}}}
nodes:
  exact: {{op: exact_dedup}}
  fuzzy: {{op: minhash_dedup, threshold: {threshold}}}
  even: {{op: undersample, by: domain, cap: 2000}}
  pick: {{op: importance, score: bytes, score_is: weight, keep_rows: 5000}}
export:
  - {{input: fuzzy, path: {out}/fuzzy, format: index}}
  - {{input: pick, path: {out}/pick, format: index}}
"""
# name, files, engine, workers, rows at once
WAYS = (
    ("local, 1 worker, 1 file", 1, "local", 1, 4096),
    ("local, 2 workers, 5 files", 5, "local", 2, 4096),
    ("local, 2 workers, 64 files", 64, "local", 2, 4096),
    ("local, batches of 7", 5, "local", 2, 7),
    ("ray, 64 files", 64, "ray", 2, 4096),
)


def cut(corpus: pa.Table, files: int, folder: Path) -> None:
    """The corpus as so many files of equal rows, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        start, stop = (corpus.num_rows * n // files for n in (number, number + 1))
        pq.write_table(corpus.slice(start, stop - start), folder / f"part-{number:03d}.parquet")


def kept(folder: Path) -> list[str]:
    """The ids of an index export."""
    files = sorted(folder.glob("*.parquet"))
    return [i for f in files for i in pq.ParquetFile(f).read(columns=["id"]).column("id").to_pylist()]


def one_way(corpus: pa.Table, base: Path, number: int, threshold: float) -> dict[str, Any]:
    """Run one way with a store of its own."""
    name, files, engine, workers, batch_rows = WAYS[number]
    folder = base / f"files-{files}"
    if not folder.exists():
        cut(corpus, files, folder)
    out = base / f"way-{number}"
    out.mkdir(exist_ok=True)
    text = CONFIG.format(folder=folder, shard=1 if files > 1 else "1GB", out=out, threshold=threshold)
    (out / "same.yaml").write_text(text)
    options = RunOptions(engine=engine, workers=workers, batch_rows=batch_rows, store=str(out / "store"))
    began = time.time()
    data = run(load_config(out / "same.yaml"), options, Progress(quiet=True))
    fuzzy, pick = kept(out / "fuzzy"), kept(out / "pick")
    digest = hashlib.blake2b("\n".join([*fuzzy, "", *pick]).encode(), digest_size=8).hexdigest()
    print(
        f"{name:28} {len(fuzzy):7,} after fuzzy {len(pick):6,} at the end  ids {digest}  "
        f"{time.time() - began:6.1f} s  {data['source']['shards']} shards  "
        f"{data['fetched_bytes'] / max(1, data['source']['shards']):,.0f} B a shard to the driver",
        flush=True,
    )
    return {"fuzzy": fuzzy, "digest": digest}


def against_truth(ids: list[str], stay: list[str], pairs: Path, threshold: float) -> None:
    """The removals against the exact pairs and the greedy solution on them."""
    true = read_pairs(pairs, ids, threshold)
    found = judge(true, ids, stay, threshold)
    removed, lost = int((~greedy(len(ids), true)).sum()), found["lost"]
    print(f"removed {found['removed']:,}; the greedy solution on the pairs removes {removed:,}")
    print(f"removed without a kept partner at J >= {threshold}: {found['alone']}")
    print(f"true pairs with both kept: {lost} of {found['pairs']:,} ({100 * lost / found['pairs']:.3f} %)")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("corpus", type=Path)
    arguments.add_argument("pairs", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--threshold", type=float, default=0.8)
    given = arguments.parse_args()
    corpus = pq.ParquetFile(given.corpus).read(columns=["id", "domain", "text"])
    found = [one_way(corpus, given.out.resolve(), n, given.threshold) for n in range(len(WAYS))]
    print(f"the same documents in all {len(found)} ways: {len({way['digest'] for way in found}) == 1}")
    ids = corpus.column("id").to_pylist()
    against_truth(ids, found[0]["fuzzy"], given.pairs, given.threshold)


if __name__ == "__main__":
    main()
