"""One run of the scaling study's DAG in this process: what it took, and whether its result is right."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipeline.config import load_config
from pipeline.engine import C, Engine, R, T, make_engine
from pipeline.engine_around import EngineAround
from pipeline.progress import Progress
from pipeline.run import Run, RunOptions
from pipeline.shuffle import Shuffle, home
from pipeline.store import Store
from pipeline.tasks import Scan
from workflows.bench.short_documents import NEAR, PLAIN, fates, truth

KEPT_SHARE = 0.5
CONFIG = f"""\
source: {{{{path: {{folder}}/*.parquet, id: id, shard_bytes: {{shard_bytes}}}}}}
seed: 7
nodes:
  rules:
    {{{{op: quality_rules, rules: [gopher_quality], min_words: 10, min_word_length: 2, min_stop_words: 0}}}}
  exact: {{{{op: exact_dedup}}}}
  fuzzy: {{{{op: minhash_dedup, threshold: 0.8}}}}
  pick: {{{{op: importance, score: bytes, score_is: weight, keep_share: {KEPT_SHARE}}}}}
  order: {{{{op: curriculum, difficulty: length, pacing: root}}}}
export: {{{{path: out, format: parquet, columns: [order.order]}}}}
"""


@dataclass
class Phase:
    """The tasks of one function."""

    runs: int = 0
    tasks: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0  # of this process: on the local engine of the tasks, too
    alone_cpu_s: float = 0.0  # of it while there was one task only
    context_bytes: int = 0  # the most that every worker of the phase is sent once


class Counting(EngineAround):
    """An engine that counts what passes through another one."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.phases: dict[str, Phase] = {}
        self.shuffles: dict[str, dict[str, int]] = {}
        self.text_passes = 0  # over the source's texts, before the export

    def run(self, fn: Callable[[C, T], R], context: C, tasks: Sequence[T]) -> Iterator[tuple[int, R]]:
        """As the other engine's, counted by the function's name."""
        phase = self.phases.setdefault(f"{fn.__module__}.{fn.__name__}", Phase())
        phase.runs += 1
        if isinstance(context, Scan):
            reads = (column for job in context.jobs for column in job.node.reads.values())
            self.text_passes += any(column.origin == "source" and column.name == "text" for column in reads)
        phase.tasks += len(tasks)
        phase.context_bytes = max(phase.context_bytes, len(pickle.dumps(context)))
        began, cpu = time.perf_counter(), time.process_time()
        yield from self.engine.run(fn, context, tasks)
        cpu = time.process_time() - cpu
        phase.wall_s += time.perf_counter() - began
        phase.cpu_s += cpu
        phase.alone_cpu_s += cpu if len(tasks) == 1 else 0.0
        if isinstance(context, Shuffle) and fn is home:
            self.shuffles[context.node.name] = travelled(context)


def travelled(shuffle: Shuffle) -> dict[str, int]:
    """What a shuffle left in the store before it is swept: messages with their homes, and replies."""
    emit, reply = (Path(shuffle.store.path(f"nodes/{shuffle.node.key}/{part}")) for part in ("emit", "reply"))
    (sent, sent_bytes), (back, back_bytes) = files_of(emit), files_of(reply)
    messages = sum(json.loads(path.read_text())["rows"] for path in emit.glob("*.json"))
    return {
        "messages": messages, "messages_bytes": sent_bytes, "replies_bytes": back_bytes, "files": sent + back,
        "runs": len(shuffle.runs), "reducers": len(shuffle.bounds) - 1,
    }  # fmt: skip


class CountingStore:
    """Counts what this thread, the driver's, asks a store for, by the method's name. The local engine runs
    what is one task only in this thread too."""

    METHODS = ("read", "exists", "list", "commit", "write", "delete")

    def __init__(self, store: Store) -> None:
        self.asked: Counter[str] = Counter()
        for name in self.METHODS:
            setattr(store, name, self._counted(name, getattr(store, name)))

    def _counted(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            self.asked[name] += threading.current_thread() is threading.main_thread()
            return method(*args)

        return counted


def files_of(folder: Path) -> tuple[int, int]:
    """(files, bytes) under a folder."""
    found = [os.path.join(top, name) for top, _, names in os.walk(folder) for name in names]
    return len(found), sum(os.path.getsize(path) for path in found)


def check(data: dict[str, Any], out: Path, documents: int) -> dict[str, int]:
    """The run beside what was planted; SystemExit where a document went wrongly or too many stayed."""
    true = truth(documents)
    gone = {node["name"]: sum(node["dropped"].values()) for node in data["nodes"]}
    ids, orders = [], []
    for path in sorted(out.glob("*.parquet")):
        table = pq.ParquetFile(path).read(columns=["id", "order.order"])
        ids.append(table.column("id").to_numpy())
        orders.append(table.column("order.order").to_numpy())
    kept, order = np.concatenate(ids), np.concatenate(orders)
    kinds, _ = fates(kept)
    lost = true["near"] - gone["fuzzy"]  # near copies that no band found
    found = {
        "exported": len(kept), "wrong_kind": int(((kinds != PLAIN) & (kinds != NEAR)).sum()),
        "lost": lost, "near_exported": int((kinds == NEAR).sum()),
    }  # fmt: skip
    right = (gone["rules"], gone["exact"]) == (true["stub"], true["exact"]) and not found["wrong_kind"]
    right &= 0 <= lost <= max(1, true["near"] // 1000) and found["near_exported"] <= lost
    right &= len(kept) == int(KEPT_SHARE * (true["plain"] + lost)) == len(np.unique(kept))
    if not right or (order[1:] < order[:-1]).any():
        raise SystemExit(f"the result is wrong: planted {true}, went {gone}, {found}")
    return found | {name: gone[name] for name in ("rules", "exact", "fuzzy")}


def one_run(
    folder: Path, work: Path, options: RunOptions, documents: int, shard_bytes: int | None = None
) -> dict[str, Any]:
    """Run the DAG over a corpus; the figures."""
    work.mkdir(parents=True, exist_ok=True)
    config = work / "scale.yaml"
    config.write_text(CONFIG.format(folder=folder.resolve(), shard_bytes=shard_bytes or "null"))
    began, cpu_began = time.perf_counter(), time.process_time()
    with closing(make_engine(options.engine, options.workers, options.address)) as engine:
        up = time.perf_counter() - began
        counting = Counting(engine)
        state = Run(load_config(config), options, Progress(quiet=True), counting)
        asked = CountingStore(state.store).asked
        data = state.go(counting)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    driver_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    files, size = files_of(work / ".tamis")
    return {
        "documents": documents,
        "engine": data["engine"],
        "workers": data["workers"],
        "wall_s": wall,
        "engine_start_s": up,
        "process_cpu_s": cpu,
        "task_cpu_s": sum(node["cpu_seconds"] for node in data["nodes"]),
        "nodes": {
            node["name"]: {
                "cpu_s": node["cpu_seconds"], "bytes": node["store_bytes"], "shape": node["shape"],
                "rows_in": node["rows_in"], "peak_bytes": node["peak_memory_bytes"],
            }
            for node in data["nodes"]
        },
        "phases": {name: vars(phase) for name, phase in counting.phases.items()},
        "shuffles": counting.shuffles,
        "text_passes": counting.text_passes,
        "driver_asked": dict(asked),
        "driver_peak_bytes": driver_peak,
        "task_peak_bytes": max(node["peak_memory_bytes"] or 0 for node in data["nodes"]),
        "fetched_bytes": data["fetched_bytes"],
        "shards": data["source"]["shards"],
        "source_bytes": data["source"]["bytes"],
        "store_files": files,
        "store_bytes": size,
        "report_bytes": os.path.getsize(data["report"]),
        "run_id": data["run"],
        "export_bytes": data["exports"][0]["bytes"],
        "checked": check(data, work / "out", documents),
    }  # fmt: skip


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("figures", type=Path)
    parser.add_argument("--documents", type=int, required=True)
    parser.add_argument("--engine", default="local")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--address")
    parser.add_argument("--shard-bytes", type=int)
    asked = parser.parse_args(given)
    options = RunOptions(engine=asked.engine, workers=asked.workers, address=asked.address)
    found = one_run(asked.folder, asked.work.resolve(), options, asked.documents, asked.shard_bytes)
    asked.figures.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
