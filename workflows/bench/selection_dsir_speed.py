"""Claim: DSIR over bytes costs a hundredth of the reference's CPU-seconds and ranks documents as it does.

    python -m workflows.bench.selection_dsir_speed CORPUS.parquet OUT [--python INTERPRETER]

Of the corpus (columns domain and text) every n-th document is the raw data and 200 documents of one domain
are the target. Compares warm CPU-seconds for counting and weighing, in one process each: tamis' operators on
Arrow batches, and the reference (`pip install data-selection`, found by INTERPRETER) as its README uses it.
Prints the rate, and of the weights Spearman's correlation and how many of the highest tenth they share. The
same for BM25 beside bm25s, with 100 target documents as queries.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from operators.bm25_best import Bm25Best
from operators.bm25_queries import Bm25Queries
from operators.bm25_terms import Bm25Terms
from operators.dsir_weight import DsirWeight
from operators.ngram_counts import NgramCounts
from workflows.bench.tables import table

TARGETS, QUERIES, BATCH = 200, 100, 4096
Floats = npt.NDArray[np.float64]

# The peers' own programs; they print the CPU-seconds of the work alone, without reading the files.
DSIR = """
import json, sys, time, numpy as np
from data_selection import HashedNgramDSIR
raw, target, out = sys.argv[1:]
began = time.process_time()
dsir = HashedNgramDSIR([raw], [target], cache_dir=out, num_proc=1)
dsir.fit_importance_estimator(num_tokens_to_fit="all")
dsir.compute_importance_weights()
print(json.dumps(time.process_time() - began))
"""
LOAD = """
import json, re, sys, time, numpy as np
raw, target, out = sys.argv[1:]
texts, queries = ([json.loads(line)["text"] for line in open(path)] for path in (raw, target))
queries = queries[:100]
words = re.compile("[a-z0-9\\x80-\\U0010ffff]+").findall
began = time.process_time()
bags, asked = ([words(text.lower()) for text in some] for some in (texts, queries))
"""
BM25S = f"""{LOAD}
import bm25s
found = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
found.index(bags, show_progress=False)
best = found.retrieve(asked, k=50, show_progress=False)
print(json.dumps(time.process_time() - began))
np.savez(out + "/best.npz", ids=best.documents, scores=best.scores)
"""


def written(corpus: Path, out: Path, domain: str, step: int) -> tuple[list[str], list[str]]:
    """The raw and the target texts, also as JSONL: the reference fails on empty lines, not on these."""
    rows = pq.read_table(corpus, columns=["domain", "text"]).to_pydict()
    mine = [text for name, text in zip(rows["domain"], rows["text"], strict=True) if name == domain]
    raw, target = rows["text"][::step], mine[:TARGETS]
    out.mkdir(parents=True, exist_ok=True)
    for name, texts in (("raw", raw), ("target", target)):
        lines = (json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
        (out / f"{name}.jsonl").write_text("".join(lines), "utf-8")
    return raw, target


def batches(texts: list[str]) -> list[pa.RecordBatch]:
    """With uids, as an engine gives them."""
    parts = [texts[i : i + BATCH] for i in range(0, len(texts), BATCH)]
    return [
        pa.RecordBatch.from_pydict(
            {"uid": np.arange(i * BATCH, i * BATCH + len(part)), "text": pa.array(part, pa.large_string())}
        )
        for i, part in enumerate(parts)
    ]


def folded(op: Any, some: list[pa.RecordBatch], uses: Any) -> Any:
    state = op.fold(some[0].slice(0, 0), uses)
    for batch in some:
        state = op.merge(state, op.fold(batch, uses))
    return op.finish(state, uses)


def by_dsir(raw: list[pa.RecordBatch], target: list[pa.RecordBatch]) -> Floats:
    uses = {name: folded(NgramCounts(), some, {}) for name, some in (("raw", raw), ("target", target))}
    op = DsirWeight(normalise="sum")
    parts = [op.columns(batch, uses)["log_weight"] for batch in raw]
    return np.concatenate([part.fill_null(0).to_numpy() for part in parts])


def by_bm25(raw: list[pa.RecordBatch], target: list[pa.RecordBatch]) -> Any:
    uses = {"queries": folded(Bm25Queries(), [target[0].slice(0, QUERIES)], {})}
    uses["terms"] = folded(Bm25Terms(), raw, uses)
    return folded(Bm25Best(), raw, uses)


def warm(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU-seconds of the second run, and what it made."""
    work()
    began = time.process_time()
    made = work()
    return time.process_time() - began, made


def peer(program: str, out: Path, python: str) -> float | str:
    """CPU-seconds by its own account, or how it failed."""
    (out / "cache").mkdir(exist_ok=True)
    files = [str(out / "raw.jsonl"), str(out / "target.jsonl"), str(out / "cache")]
    done = subprocess.run([python, "-c", program, *files], capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stderr.strip().splitlines()[-1][:60]
    return float(json.loads(done.stdout.strip().splitlines()[-1]))


def line(name: str, cost: float | str, size: float, own: float) -> list[str]:
    if isinstance(cost, str):
        return [name, cost, "-", "-"]
    return [name, f"{cost:.3f}", f"{size / cost:.2f}", f"{cost / own:.1f}"]


def agreement(a: Floats, b: Floats) -> str:
    """Spearman's correlation, and the share of the highest tenth of the one in that of the other."""
    first, second = (np.argsort(np.argsort(x, kind="stable"), kind="stable") for x in (a, b))
    top = max(1, len(a) // 10)
    shared = int(((first >= len(a) - top) & (second >= len(a) - top)).sum())
    centred = [x - x.mean() for x in (first, second)]
    rho = float(centred[0] @ centred[1]) / float(centred[0] @ centred[0])  # both are permutations
    return f"Spearman {rho:.4f}, of the highest tenth {shared / top:.3f} in both"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--domain", default="python")
    parser.add_argument("--step", type=int, default=16, help="every so many documents are the raw data")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has the peers")
    given = parser.parse_args()
    raw, target = written(given.corpus, given.out, given.domain, given.step)
    texts, examples = batches(raw), batches(target)
    size = sum(len(text.encode()) for text in raw) / 1e6
    own, weight = warm(lambda: by_dsir(texts, examples))
    head = ("", "CPU-s", "MB/s/core", "x tamis")
    costs = [line("tamis dsir", own, size, own)]
    costs.append(line("data-selection", peer(DSIR, given.out, given.python), size, own))
    print(f"\n{len(raw):,} documents, {size:.1f} MB\n\n{table(head, costs)}")
    found = given.out / "cache" / "log_importance_weights" / "0.npy"
    if found.exists():
        print(f"\nlog weights (sums): {agreement(weight, np.load(found))}")
    own, best = warm(lambda: by_bm25(texts, examples))
    costs = [line("tamis bm25", own, size, own)]
    costs.append(line("bm25s", peer(BM25S, given.out, given.python), size, own))
    print(f"\n{table(head, costs)}")
    if (given.out / "cache" / "best.npz").exists():
        theirs = np.load(given.out / "cache" / "best.npz")["ids"]
        mine = np.intersect1d(theirs, best["uid"])
        print(f"\nin any list: tamis {len(best['uid'])}, bm25s {len(np.unique(theirs))}, both {len(mine)}")


if __name__ == "__main__":
    main()
