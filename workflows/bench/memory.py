"""Claim: a run keeps to its memory budget on a corpus several times as large, on both engines.

    python -m workflows.bench.memory OUT [--memory 256MiB] [--times 4] [--engines local,ray] [--workers 2]

Makes a corpus of so many times the budget (with one row group as large as the budget, and documents of up
to 4 MB), runs a DAG of deduplication, rules, a cut and a curriculum with an ordered export over it, and
samples every process of the run. A process's peak is its resident high-water mark (VmHWM, pages of mapped
files included); `private` is its anonymous memory alone, which is all that the system cannot take back.
The base is what the same run takes for 300 documents: the interpreter, packages and compiled kernels.
Above the base a Ray worker may take the budget, a process of the local engine a budget for each worker.
Figures go to OUT/memory.json and, as Markdown, to OUT/memory.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.ledger import load_run
from pipeline.sizes import parse_bytes
from pipeline.store import Store
from workflows.bench import tables

BASE_ROWS = 300
SAMPLE_S = 0.05
GROUP_BYTES = 64_000_000
LONGEST = 4_000_000  # bytes of the longest documents
DAG = """
source: {{path: {source}, id: id}}
seed: 7
nodes:
  exact:  {{op: exact_dedup}}
  fuzzy:  {{op: minhash_dedup, threshold: 0.8}}
  lines:  {{op: line_dedup}}
  spans:  {{op: substring_dedup}}
  rules:  {{op: quality_rules, input: spans, statistics: true, max_drop_share: 1}}
  size:   {{op: lengths, input: spans}}
  pick:   {{op: percentile_band, score: size.characters, low: 5, high: 100}}
  order:  {{op: curriculum, difficulty: length, pacing: root}}
export: {{path: {out}, columns: [order]}}
"""


def documents(rng: np.random.Generator, words: pa.Array, num_bytes: int) -> Iterator[pa.Array]:
    """Texts of lines of words, of about so many bytes in all: a twelfth are copies of others, another
    twelfth copies with another last line; one in 4,000 is long."""
    made = 0
    while made < num_bytes:
        lengths = np.minimum(rng.lognormal(5.5, 1.0, 4000).astype(np.int64) + 8, LONGEST // 8)
        lengths[0] = LONGEST // 8
        places = np.minimum(rng.zipf(1.3, int(lengths.sum())) - 1, len(words) - 1)
        ends = np.concatenate([[0], np.cumsum(lengths)])
        places[ends[1:] - 1] = len(words) - 1  # a line ends the text
        lists = pa.LargeListArray.from_arrays(pa.array(ends), words.take(pa.array(places)))
        texts = pc.binary_join(lists, pa.scalar(" ", pa.large_string()))
        some, others = rng.choice(4000, (2, 660), replace=False)
        which = np.arange(4000)
        which[some] = others
        near = np.zeros(4000, bool)
        near[some[:330]] = True
        texts = texts.take(pa.array(which))
        tails = [f"line {i} of its own\n" if is_near else "" for i, is_near in enumerate(near)]
        tail = pa.array(tails, pa.large_string())
        texts = pc.binary_join_element_wise(texts, tail, pa.scalar("", pa.large_string()))
        made += pc.sum(pc.binary_length(texts)).as_py()
        yield texts


def write_corpus(folder: Path, num_bytes: int, largest_group: int) -> int:
    """Parquet files of about so many bytes of text, the first a single large row group; how many."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"w{i:x}" if i % 17 else f"w{i:x}.\n" for i in range(50_000)]
    words = pa.array(names, pa.large_string())
    rows = size = number = 0
    held: list[pa.Array] = []
    wanted = largest_group

    def flush() -> None:
        nonlocal rows, size, number, wanted
        text = pa.chunked_array(held)
        ids = pa.array([f"doc-{rows + i}" for i in range(len(text))])
        table = pa.table({"id": ids, "text": text})
        pq.write_table(table, folder / f"part-{number:04d}.parquet", row_group_size=len(text))
        rows, size, number, wanted = rows + len(text), 0, number + 1, GROUP_BYTES
        held.clear()

    for texts in documents(rng, words, num_bytes):
        held.append(texts)
        size += texts.nbytes
        if size >= wanted:
            flush()
    if held:
        flush()
    return rows


def write_base(folder: Path, corpus: Path) -> None:
    """The corpus's first rows."""
    folder.mkdir(parents=True)
    batch = next(pq.ParquetFile(corpus / "part-0000.parquet").iter_batches(BASE_ROWS + 1))
    pq.write_table(pa.Table.from_batches([batch]).slice(1), folder / "part-0000.parquet")


def run(folder: Path, source: Path, engine: str, workers: int, memory: str | None) -> dict[str, Any]:
    """One run in processes of its own: the peaks of its processes, its nodes' peaks, its cost."""
    folder.mkdir(parents=True)
    (folder / "c.yaml").write_text(DAG.format(source=source.resolve(), out="out/"))
    command = [sys.executable, "-m", "pipeline.cli", "run", "c.yaml", "--plain", "--engine", engine]
    command += ["--workers", str(workers), *(["--memory", memory] if memory else [])]
    command += ["--address", "local"] if engine == "ray" else []
    began = time.monotonic()
    with open(folder / "log.txt", "wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        peaks = watch(process)
    if process.returncode:
        raise SystemExit(f"the run in {folder} ended with {process.returncode}: see its log.txt")
    data = load_run(Store(str(folder / ".tamis")), None)
    nodes = {node["name"]: node["peak_memory_bytes"] or 0 for node in data["nodes"]}
    kept = data["exports"][0]["rows"]
    return {"peaks": peaks, "nodes": nodes, "wall_s": time.monotonic() - began, "kept": kept}


def watch(process: subprocess.Popen[bytes]) -> dict[str, dict[str, int]]:
    """{driver, worker}: the largest high-water mark and private memory of any such process."""
    peaks: dict[str, dict[str, int]] = {}
    while process.poll() is None:
        for pid in descendants(process.pid):
            kind = "driver" if pid == process.pid else kind_of(pid)
            if kind is None:
                continue
            seen = peaks.setdefault(kind, {"peak": 0, "private": 0})
            for key, value in status(pid).items():
                seen[key] = max(seen[key], value)
        time.sleep(SAMPLE_S)
    return peaks


def descendants(top: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = Path(f"/proc/{name}/stat").read_text()
            except OSError:
                continue
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(name))
    found = [top]
    for pid in found:
        found += children.get(pid, [])
    return found


def kind_of(pid: int) -> str | None:
    """`worker` for a process that runs Ray tasks; Ray's own are none of ours."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    return "worker" if command.startswith(b"ray::") else None


def status(pid: int) -> dict[str, int]:
    """Resident high-water mark and anonymous memory now, in bytes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    found = {line.split(":")[0]: line for line in lines}
    wanted = {"peak": "VmHWM", "private": "RssAnon"}
    return {key: int(found[name].split()[1]) * 1024 for key, name in wanted.items() if name in found}


def row(result: dict[str, Any]) -> list[str]:
    """A line of the table."""
    kind = "worker" if "worker" in result["peaks"] else "driver"
    peak, base = result["peaks"][kind], result["base"][kind]
    above = {key: (peak[key] - base[key]) / (1 << 20) for key in peak}
    worst = max(result["nodes"], key=lambda name: result["nodes"][name])
    return [
        f"{result['engine']}, {result['workers']} workers",
        *(
            f"{value / (1 << 20):.0f}"
            for value in (base["peak"], peak["peak"], above["peak"], above["private"])
        ),
        f"{result['allowed'] / (1 << 20):.0f}",
        f"{worst} {result['nodes'][worst] / (1 << 20):.0f}",
        f"{result['peaks']['driver']['peak'] / (1 << 20):.0f}",
        f"{result['wall_s']:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--memory", default="256MiB", help="the budget of a worker")
    parser.add_argument("--times", type=float, default=4, help="text of the corpus, in budgets")
    parser.add_argument("--engines", default="local,ray")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    budget = parse_bytes(given.memory)
    if not (given.out / "corpus").exists():
        write_corpus(given.out / "corpus", int(given.times * budget), budget)
        write_base(given.out / "base", given.out / "corpus")
    results = []
    for engine in given.engines.split(","):
        runs = given.out / f"{engine}-{time.strftime('%H%M%S')}"
        for name in ("warm", "base"):  # the first compiles what is not in the cache
            small = run(runs / name, given.out / "base", engine, given.workers, given.memory)
        whole = run(runs / "whole", given.out / "corpus", engine, given.workers, given.memory)
        about = {"engine": engine, "workers": given.workers, "base": small["peaks"]}
        allowed = budget * (given.workers if engine == "local" else 1)
        results.append(about | {"allowed": allowed} | whole)
        print(json.dumps(results[-1]), flush=True)
    head = ("", "base MiB", "peak", "above the base", "of it private", "allowed", "most", "driver", "wall s")
    text = tables.table(head, map(row, results))
    (given.out / "memory.json").write_text(json.dumps(results, indent=1))
    (given.out / "memory.md").write_text(f"{text}\n")
    print(text)


if __name__ == "__main__":
    main()
