"""Claim: near deduplication removes nothing wrongly and next to nothing too little, against exact truth.

    python -m workflows.bench.near_truth OUT CORPUS.parquet[=PAIRS.parquet] ... [--set threshold=0.8]

CORPUS has the columns id and text; PAIRS lists its near-duplicate pairs (id_a, id_b, jaccard5w: the exact
Jaccard index of the sets of word 5-grams), all those from 0.7; without it they are found first. For each
corpus prints what went without a kept partner at or above the threshold (the claim: nothing), recorded
partners or similarities that differ from the truth (nothing), true pairs of which both stay (at most 0.5 %),
and the removals against the greedy solution on the pairs (within 1 %), then what every part of the recipe
took in CPU-seconds and store bytes a document.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pipeline.config import load_config
from pipeline.progress import Progress
from pipeline.run import RunOptions, run
from workflows.bench.truth import Pairs, exact_pairs, judge, read_ids, read_pairs

LEAST = 0.7  # pairs files are complete from here on

Ints = npt.NDArray[np.int64]


def greedy(documents: int, pairs: Pairs) -> npt.NDArray[np.bool_]:
    """Who stays when documents are taken in order and go for any kept one before them."""
    stays = np.ones(documents, bool)
    order = np.lexsort([pairs.a, pairs.b])
    starts = np.searchsorted(pairs.b[order], np.arange(documents + 1))
    for i in np.unique(pairs.b).tolist():
        stays[i] = not stays[pairs.a[order[starts[i] : starts[i + 1]]]].any()
    return stays


@dataclass(frozen=True)
class Verdict:
    """What a run decided: who stays (N,), and for every document that went (its place, the kept place,
    the recorded similarity)."""

    stays: npt.NDArray[np.bool_]
    gone: Ints
    kept: Ints
    similarity: npt.NDArray[np.float64]


def read_verdict(dropped: Path, documents: int) -> Verdict:
    """The dropped documents of an export with their evidence."""
    parts = [pq.ParquetFile(p).read(columns=["uid", "evidence"]) for p in sorted(dropped.glob("*.parquet"))]
    table = pa.concat_tables(parts)
    evidence = [json.loads(text) for text in table.column("evidence").to_pylist()]
    gone = np.array(table.column("uid").to_pylist(), np.int64)
    stays = np.ones(documents, bool)
    stays[gone] = False
    kept = np.array([e["kept"] for e in evidence], np.int64)
    return Verdict(stays, gone, kept, np.array([e["similarity"] for e in evidence], np.float64))


def against_truth(pairs: Pairs, ids: list[str], found: Verdict, threshold: float) -> dict[str, float]:
    """The figures of the claim; the pairs are those at or above the threshold."""
    kept = [name for name, stays in zip(ids, found.stays, strict=True) if stays]
    counts = judge(pairs, ids, kept, threshold)
    true = dict(zip(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True), pairs.jaccard, strict=True))
    ends = zip(found.kept.tolist(), found.gone.tolist(), strict=True)
    recorded = np.array([true.get(pair, 0.0) for pair in ends])
    right = found.stays[found.kept] & (np.abs(recorded - found.similarity) < 1e-5)
    best = int((~greedy(len(ids), pairs)).sum())
    return {
        "removed": counts["removed"],
        "removed without a kept partner": counts["alone"],
        "recorded partners that are wrong": int((~right).sum()),
        "true pairs": counts["pairs"],
        "of these with both kept, %": 100 * counts["lost"] / max(1, counts["pairs"]),
        "removed by the greedy solution": best,
        "removals against that, %": 100 * (counts["removed"] / max(1, best) - 1),
    }


def measure(corpus: Path, pairs: Path | None, fields: dict[str, Any], out: Path) -> dict[str, float]:
    """Run a corpus, print its figures and give them back."""
    out.mkdir(parents=True, exist_ok=True)
    config = {
        "source": {"path": str(corpus.resolve()), "id": "id"},
        "nodes": {"fuzzy": {"op": "minhash_dedup", **fields}},
        "export": {"path": str(out / "kept"), "format": "index", "dropped": str(out / "dropped")},
    }
    (out / "near_truth.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    options = RunOptions(engine="local", workers=1, store=str(out / "store"))
    data = run(load_config(out / "near_truth.yaml"), options, Progress(quiet=True))
    ids, threshold = read_ids(corpus), float(fields.get("threshold", 0.8))
    true = read_pairs(pairs, ids, threshold) if pairs else exact_pairs(corpus, threshold)
    figures = against_truth(true, ids, read_verdict(out / "dropped", len(ids)), threshold)
    print(f"{corpus.stem}: {len(ids):,} documents")
    for name, value in figures.items():
        print(f"  {name:34} {value:12,.3f}" if name.endswith("%") else f"  {name:34} {value:8,}")
    for node in data["nodes"]:
        if node["recipe"] == "fuzzy":
            size = node["store_bytes"] / len(ids)
            print(
                f"  {node['name']:34} {node['cpu_seconds']:12.3f} CPU-s {size:10,.1f} B a document",
                flush=True,
            )
    return figures


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("corpora", nargs="+", metavar="CORPUS[=PAIRS]")
    arguments.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", dest="sets")
    given = arguments.parse_args()
    fields = {name: yaml.safe_load(value) for name, _, value in (one.partition("=") for one in given.sets)}
    for one in given.corpora:
        corpus, _, pairs = one.partition("=")
        if pairs and fields.get("threshold", 0.8) < LEAST:
            arguments.error(f"threshold = {fields['threshold']}: {pairs} is complete from {LEAST} on")
        measure(Path(corpus), Path(pairs) if pairs else None, fields, given.out.resolve() / Path(corpus).stem)


if __name__ == "__main__":
    main()
