"""Claim: a document costs the same among 10,000 and among 10 million; two cores do twice as much as one.

    python -m workflows.bench.scale slope OUT [--sizes 1e4,1e5,1e6,1e7] [--engine local|ray]
    python -m workflows.bench.scale cores OUT [--documents 2e6] [--repeats 3]
    python -m workflows.bench.scale shards OUT [--documents 2e5]
    python -m workflows.bench.scale nodes OUT [--documents 2e5] [--nodes 1,2,3]

One DAG (quality rules, exact and near duplicates, a sample, a curriculum, an ordered export) over synthetic
short documents, each run in a process of its own with a store of its own, and each result checked against
what was planted. What a run of 1,000 documents takes is the start, and is taken off. Figures: OUT/*.json.

`slope` runs one size after the other; `shards` cuts one corpus into few and many shards, which shows what a
shard, a task and a request cost beside the documents; `cores` wants a quiet machine: 1 worker on one core and
2 on two (taskset), in turn; strong scaling is the same corpus for both, weak scaling twice the documents for
two. `nodes` starts Ray clusters of several nodes on this machine and compares the exported bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from workflows.bench import measure, short_documents
from workflows.bench.tables import Row, table

START_DOCUMENTS = 1000
SMALL_GROUP = 1024  # rows of a shard where there are to be many
FEW_SHARDS = 8

Figures = dict[str, Any]


class Study:
    """Runs of the DAG, their corpora and stores in one folder."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        self.out: Path = asked.out.resolve()
        self.out.mkdir(parents=True, exist_ok=True)

    def run(
        self,
        documents: int,
        name: str,
        *options: str,
        cpus: str = "",
        group_rows: int = 0,
        keep: bool = False,
    ) -> Figures:
        """One run in a process of its own; SystemExit where it failed or its result is wrong."""
        group = group_rows or short_documents.GROUP_ROWS
        corpus = self.out / f"corpus-{documents}-{group}"
        short_documents.write(corpus, documents, group_rows=group)
        work, figures, whole = (self.out / f"{name}{end}" for end in (".work", ".run.json", ".cost.json"))
        shutil.rmtree(work, ignore_errors=True)
        command = [sys.executable, "-m", "workflows.bench.scale_run", corpus, work, figures]
        command += ["--documents", documents, *options]
        pinned = ["taskset", "-c", cpus] if cpus else []
        log = self.out / f"{name}.log"
        parts = [sys.executable, "-S", measure.__file__, whole, log, *pinned, *command]
        subprocess.run([str(part) for part in parts], check=True)
        cost = json.loads(whole.read_text())
        if cost["exit"]:
            raise SystemExit(f"{name} failed; the end of {log}:\n{log.read_text()[-3000:]}")
        found = json.loads(figures.read_text()) | {"cost": cost, "load": os.getloadavg()[0]}
        found["export_hash"] = tree_hash(work / "out")
        if not keep:
            shutil.rmtree(work)
        print(
            f"{name}: {cost['cpu_s']:.1f} CPU-s, {cost['wall_s']:.1f} s, load {found['load']:.1f}", flush=True
        )
        return found

    def engine(self) -> list[str]:
        """The options that say what runs it."""
        workers = ["--workers", str(self.asked.workers)] if self.asked.workers else []
        return ["--engine", self.asked.engine, *workers]

    def save(self, name: str, figures: Any, text: str) -> None:
        """Figures as JSON, and the table."""
        (self.out / f"{name}.json").write_text(json.dumps(figures, indent=1))
        print(f"\n{text}\n\nfigures: {self.out / name}.json")


def tree_hash(folder: Path) -> str:
    """A hash of the files' names and bytes."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".json":
            total.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def cpu_of(run: Figures) -> float:
    """CPU-seconds: on Ray those of the tasks and the driver, as its workers are nobody's children."""
    if run["engine"] == "ray":
        return float(run["process_cpu_s"] + run["task_cpu_s"])
    return float(run["cost"]["cpu_s"])


def driver_cpu(run: Figures) -> float:
    """CPU-seconds of the driver: of its process on Ray; on the local engine those outside the engine."""
    inside = sum(phase["cpu_s"] for phase in run["phases"].values())
    return float(run["process_cpu_s"] - (0.0 if run["engine"] == "ray" else inside))


def slope(study: Study) -> None:
    """One size after the other."""
    asked = study.asked
    study.run(START_DOCUMENTS, "warm", *study.engine())
    start = study.run(START_DOCUMENTS, f"{asked.engine}-start", *study.engine())
    runs: list[Figures] = []
    for size in asked.sizes:
        runs.append(study.run(size, f"{asked.engine}-{size}", *study.engine(), keep=asked.keep))
        study.save(f"slope-{asked.engine}", {"start": start, "runs": runs}, slope_table(start, runs))


def slope_table(start: Figures, runs: Sequence[Figures]) -> str:
    """One line for each size."""
    head: Row = ("documents", "shards", "CPU-s", "of it start", "µs a document", "wall s (load)")
    head = (*head, "driver peak MB", "most of a task MB", "store B a document", "shuffled B", "files")
    head = (*head, "tasks", "fetched kB")
    return table(head, [_slope_row(start, run) for run in runs])


def _slope_row(start: Figures, run: Figures) -> list[str]:
    documents, begun = run["documents"], cpu_of(start)
    sent = sum(s["messages_bytes"] for s in run["shuffles"].values())
    tasks = sum(phase["tasks"] for phase in run["phases"].values())
    return [
        f"{documents:,}", str(run["shards"]), f"{cpu_of(run):.1f}", f"{begun:.1f}",
        f"{1e6 * (cpu_of(run) - begun) / documents:.1f}", f"{run['cost']['wall_s']:.0f} ({run['load']:.0f})",
        f"{run['driver_peak_bytes'] / 1e6:.0f}", f"{run['task_peak_bytes'] / 1e6:.0f}",
        f"{run['store_bytes'] / documents:.0f}", f"{sent / documents:.0f}",
        f"{run['store_files']:,}", f"{tasks:,}", f"{run['fetched_bytes'] / 1e3:.0f}",
    ]  # fmt: skip


def node_table(run: Figures, least: float = 0.01) -> str:
    """What each node costs a document, those with at least this share of the whole."""
    whole = run["task_cpu_s"]
    rows = [
        [name, f"{1e6 * node['cpu_s'] / run['documents']:.2f}", f"{100 * node['cpu_s'] / whole:.0f} %"]
        for name, node in sorted(run["nodes"].items(), key=lambda item: -item[1]["cpu_s"])
        if node["cpu_s"] >= least * whole
    ]
    return table(("node", "µs a document", "of all tasks"), rows)


def shards(study: Study) -> None:
    """One corpus as few and as many shards."""
    asked = study.asked
    few = -(-asked.documents // FEW_SHARDS)
    study.run(START_DOCUMENTS, "warm", *study.engine())
    runs = [
        study.run(
            asked.documents,
            f"{asked.engine}-{name}-shards",
            *study.engine(),
            "--shard-bytes",
            "1",
            group_rows=rows,
        )
        for name, rows in (("few", few), ("many", SMALL_GROUP))
    ]
    few_run, many = runs
    same = few_run["export_hash"] == many["export_hash"]
    found = {"runs": runs, "a_shard": per_shard(few_run, many), "same_bytes": same}
    rows = [[name, f"{value:,.4g}"] for name, value in found["a_shard"].items()]
    study.save(
        f"shards-{asked.engine}", found, f"the same bytes: {same}\n" + table(("a shard more", ""), rows)
    )


def per_shard(few: Figures, many: Figures) -> dict[str, float]:
    """What a shard more costs, the documents being the same."""
    extra = many["shards"] - few["shards"]

    def more(value: Callable[[Figures], float]) -> float:
        return (value(many) - value(few)) / extra

    return {
        "tasks": more(lambda r: sum(p["tasks"] for p in r["phases"].values())),
        "cpu_s": more(cpu_of),
        "task_cpu_s": more(lambda r: r["task_cpu_s"])
        / more(lambda r: sum(p["tasks"] for p in r["phases"].values())),
        "driver_cpu_s": more(driver_cpu),
        "driver_peak_bytes": more(lambda r: r["driver_peak_bytes"]),
        "driver_requests": more(lambda r: sum(r["driver_asked"].values())),
        "context_bytes": more(lambda r: max(p["context_bytes"] for p in r["phases"].values())),
        "fetched_bytes": more(lambda r: r["fetched_bytes"]),
        "files": more(lambda r: r["store_files"]),
        "wall_s": more(lambda r: r["cost"]["wall_s"]),
    }


def cores(study: Study) -> None:
    """1 worker on one core and 2 on two, in turn."""
    asked = study.asked
    every: dict[str, list[Figures]] = {}
    cpus = sorted(os.sched_getaffinity(0))[:2]
    ways = [(1, str(cpus[0])), (2, ",".join(map(str, cpus)))]
    for workers, pinned in ways:
        study.run(START_DOCUMENTS, "warm", "--workers", str(workers), cpus=pinned)
    for _ in range(asked.repeats):
        for workers, pinned in ways:
            for name, documents in cores_sizes(asked.documents, workers):
                run = study.run(documents, f"{name}-{workers}", "--workers", str(workers), cpus=pinned)
                every.setdefault(f"{name}-{workers}", []).append(run)
    efficiency = efficiencies(every)
    rows = [[name, *(f"{value:.3f}" for value in pair)] for name, pair in efficiency.items()]
    study.save(
        "cores",
        {"runs": every, "efficiency": efficiency},
        table(("1 -> 2 cores", "by wall", "CPU-s of 1 / CPU-s of 2"), rows),
    )


def cores_sizes(documents: int, workers: int) -> list[tuple[str, int]]:
    """The runs of one way: the start, the half corpus for one worker only, the whole."""
    half = [("half", documents // 2)] if workers == 1 else []
    return [("start", START_DOCUMENTS), *half, ("whole", documents)]


def efficiencies(every: dict[str, list[Figures]]) -> dict[str, tuple[float, float]]:
    """Strong and weak scaling by (wall, CPU-seconds), medians, the start taken off; and of the phases of
    rules and signatures, of shuffles, and of the export."""

    def middle(name: str, value: Callable[[Figures], float]) -> float:
        return median(value(run) for run in every[name])

    def net(name: str, workers: int, value: Callable[[Figures], float]) -> float:
        return middle(f"{name}-{workers}", value) - middle(f"start-{workers}", value)

    def wall(run: Figures) -> float:
        return float(run["cost"]["wall_s"])

    found = {
        "strong: all": (net("whole", 1, wall) / (2 * net("whole", 2, wall)),
                        net("whole", 1, cpu_of) / net("whole", 2, cpu_of)),
        "weak: all": (net("half", 1, wall) / net("whole", 2, wall),
                      2 * net("half", 1, cpu_of) / net("whole", 2, cpu_of)),
    }  # fmt: skip
    parts = {"scans (rules, signatures)": "tasks.scan", "shuffles (dedup)": "shuffle.", "export": "export."}
    for label, prefix in parts.items():

        def spent(run: Figures, key: str, prefix: str = prefix) -> float:
            found = (p[key] for name, p in run["phases"].items() if name.startswith(f"pipeline.{prefix}"))
            return float(sum(found))

        found[f"strong: {label}"] = (
            net("whole", 1, lambda r: spent(r, "wall_s"))
            / (2 * net("whole", 2, lambda r: spent(r, "wall_s"))),
            net("whole", 1, lambda r: spent(r, "cpu_s")) / net("whole", 2, lambda r: spent(r, "cpu_s")),
        )
    return found


def nodes(study: Study) -> None:
    """The same corpus on Ray clusters of several nodes of one CPU each on this machine."""
    from ray.cluster_utils import Cluster

    asked = study.asked
    runs = {
        "local": study.run(
            asked.documents, "local", "--workers", "1", group_rows=-(-asked.documents // FEW_SHARDS)
        )
    }
    for count in asked.nodes:
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        try:
            for _ in range(count - 1):
                cluster.add_node(num_cpus=1)
            cluster.wait_for_nodes()
            options = ["--engine", "ray", "--address", cluster.address]
            rows = -(-asked.documents // FEW_SHARDS)
            runs[str(count)] = study.run(asked.documents, f"nodes-{count}", *options, group_rows=rows)
        finally:
            cluster.shutdown()  # type: ignore[no-untyped-call]
    hashes = {name: run["export_hash"] for name, run in runs.items()}
    rows = [_node_row(name, run) for name, run in runs.items()]
    head = (
        "Ray nodes",
        "CPU-s",
        "of it driver",
        "wall s (load)",
        "driver peak MB",
        "fetched kB a shard",
        "export",
    )
    text = f"the same bytes: {len(set(hashes.values())) == 1}\n" + table(head, rows)
    study.save("nodes", {"runs": runs, "same_bytes": len(set(hashes.values())) == 1}, text)


def _node_row(name: str, run: Figures) -> list[str]:
    return [
        name,
        f"{cpu_of(run):.1f}",
        f"{run['process_cpu_s']:.1f}",
        f"{run['cost']['wall_s']:.0f} ({run['load']:.0f})",
        f"{run['driver_peak_bytes'] / 1e6:.0f}",
        f"{run['fetched_bytes'] / run['shards'] / 1e3:.1f}",
        run["export_hash"],
    ]


def _number(text: str) -> int:
    return int(float(text))


def _numbers(text: str) -> list[int]:
    return [_number(word) for word in text.split(",")]


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    kinds = {"slope": slope, "cores": cores, "shards": shards, "nodes": nodes}
    parser.add_argument("study", choices=kinds)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sizes", type=_numbers, default=[10**k for k in range(4, 8)])
    parser.add_argument("--documents", type=_number, help="2e6 for cores, else 2e5")
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--nodes", type=_numbers, default=[1, 2, 3])
    parser.add_argument("--keep", action="store_true", help="keep the stores of `slope`")
    asked = parser.parse_args(given)
    asked.documents = asked.documents or (2_000_000 if asked.study == "cores" else 200_000)
    kinds[asked.study](Study(asked))


if __name__ == "__main__":
    main()
