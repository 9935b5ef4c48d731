"""Scorers of documents by a model, each in processes of its own, in turn: what it took and what it gave."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from workflows.bench import measure

Scorer = Callable[[list[str]], np.ndarray]
Costs = dict[str, list[dict[str, float]]]


def arguments(module_doc: str | None, documents: int, repeats: int) -> argparse.Namespace:
    """The command line; the folder `out` is made. documents, repeats: by default."""
    parser = argparse.ArgumentParser(description=(module_doc or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--documents", type=int, default=documents)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--only", help="scorers, with commas; all when not given")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def score_here(args: argparse.Namespace, load: Callable[[], Scorer], some: list[str], warm: int) -> None:
    """Load a model, score its first `warm` texts, then all: write what that took and gave."""
    import torch

    torch.set_num_threads(args.threads)
    score = load()
    score(some[:warm])
    wall, cpu = time.perf_counter(), time.process_time()
    found = score(some)
    cost = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    np.save(args.out / f"{args.child}.npy", found)
    (args.out / f"{args.child}.json").write_text(json.dumps(cost))


def run_all(args: argparse.Namespace, module: str, every: Sequence[str]) -> Costs:
    """All scorers, or those of `--only`, as often as wanted. module: whose `--child` runs one."""
    names = args.only.split(",") if args.only else every
    costs: Costs = {name: [] for name in names}
    for _ in range(args.repeats):
        for name in names:
            costs[name].append(_run(name, args, module))
    return costs


def _run(name: str, args: argparse.Namespace, module: str) -> dict[str, float]:
    """One scorer in a process of its own."""
    command = [sys.executable, "-m", module, args.model, args.corpus, args.out]
    command += ["--documents", args.documents, "--max-tokens", args.max_tokens, "--threads", args.threads]
    whole, log = args.out / f"{name}.whole.json", args.out / f"{name}.log"
    parts = [sys.executable, "-S", measure.__file__, whole, log, *command, "--child", name]
    subprocess.run([str(part) for part in parts], check=True)
    cost = json.loads(whole.read_text())
    if cost["exit"]:
        raise SystemExit(f"{name} failed; the end of {log}:\n{log.read_text()[-2000:]}")
    return {**json.loads((args.out / f"{name}.json").read_text()), "peak_bytes": cost["peak_bytes"]}


def cost_cells(documents: int, runs: Sequence[dict[str, float]]) -> list[str]:
    """Documents a second, wall and CPU-seconds, the least of the runs; the most memory in MB."""
    wall, cpu = min(run["wall_s"] for run in runs), min(run["cpu_s"] for run in runs)
    peak = max(run["peak_bytes"] for run in runs)
    return [f"{documents / wall:.2f}", f"{wall:.2f}", f"{cpu:.2f}", f"{peak / 1e6:.0f}"]


COST_HEAD = ("documents/s", "wall s", "CPU-s", "peak MB")
