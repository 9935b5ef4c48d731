"""Claim: selectors reach what their plain algorithms reach; k-center does so 8 to 21 times as fast.

    python -m workflows.bench.selecting OUT --rows 20000 --budget 200

Chooses so many rows of a planted mixture (or of --vectors) in 384 dimensions with tamis, with the libraries
that are installed (small-text, modAL-python, apricot-select, submodlib-py), and with the published algorithms
written down plainly, each in a process of its own. Prints CPU-seconds, wall time, peak memory and the
objective: for k-center the covering radius, for facility location the mean cosine with the nearest chosen
row, for vote-k the share of rows that have a chosen one among their 150 nearest (and how many rows are the
plain algorithm's), for BADGE the mean distance of a gradient from the nearest chosen one.

Found for 200 of 20,000 rows, one thread, CPU-seconds with the start of Python: k-center 1.5 against 32.1 by
small-text 1.4.1 (21 times) and 12.3 by modAL 0.4.2.1 (8 times), radius 29.6 against 30.0.
vote-k 14.3 and facility location 14.4 (sampled 13.9, objective .5629 against .5655), all but a second of it
the exact graph of neighbours; apricot 0.6.1 stops with a TypeError on a graph of neighbours. For 20 of 1,500
rows vote-k chose the plain algorithm's rows, and facility location by 150 neighbours reached .3029, by all
pairs apricot .3049 and submodlib-py 0.0.3 .3062, at 1.8, 5.3 and 2.5 CPU-seconds; BADGE 0.4 against 1.9.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpu_ops.facility_location import FacilityLocation
from gpu_ops.k_center import KCenter
from gpu_ops.kernels.greedy import Factored, k_means_plus_plus
from gpu_ops.kernels.neighbours import top_k
from gpu_ops.kernels.selecting import SelectOp
from gpu_ops.vote_k import VoteK
from operators.kernels.counter import mix64
from workflows.bench import measure
from workflows.bench.clustering import BLOCK, ROOT, planted, vectors_of
from workflows.bench.tables import table

NEIGHBOURS, CLASSES, MIXTURE = 150, 10, 50
Rows = npt.NDArray[np.integer[Any]]
Way = Callable[[npt.NDArray[np.float32], int], Rows]


def by(op: SelectOp, x: npt.NDArray[np.float32]) -> Rows:
    """What an operator chooses, in its order."""
    uid = np.arange(len(x))
    lists = pa.ListArray.from_arrays(pa.array(np.arange(len(x) + 1) * x.shape[1], pa.int32()), x.ravel())
    columns = {"uid": uid, "key": mix64(uid.astype(np.uint64)), "embedding": lists}
    batch = pa.RecordBatch.from_pydict(columns)
    state = op.fit(iter([batch.slice(i, BLOCK) for i in range(0, len(x), BLOCK)]), "cpu", {})
    chosen: Rows = state["uid"][np.argsort(state["rank"])]
    return chosen


def centres_by_small_text(x: npt.NDArray[np.float32], k: int) -> Rows:
    greedy_coreset = import_module("small_text.query_strategies.coresets").greedy_coreset

    return greedy_coreset(x, np.arange(len(x)), np.array([0]), k, distance_metric="euclidean")


def centres_by_modal(x: npt.NDArray[np.float32], k: int) -> Rows:
    """Its ranked batches without uncertainty, which are farthest first."""
    ranked_batch = import_module("modAL.batch").ranked_batch

    learner = SimpleNamespace(on_transformed=False, X_training=x[:1])
    chosen: Rows = ranked_batch(learner, x, np.zeros(len(x)), k, "euclidean", 1)[0]
    return chosen


def votes_plainly(x: npt.NDArray[np.float32], k: int) -> Rows:
    """`fast_votek` of Su et al.: cosines of one row at a time and their sort, in each step all scores."""
    from sklearn.metrics.pairwise import cosine_similarity

    votes: dict[int, list[int]] = defaultdict(list)
    for i in range(len(x)):
        for near in np.argsort(cosine_similarity(x, x[i : i + 1])[:, 0]).tolist()[-NEIGHBOURS - 1 : -1]:
            if near != i:
                votes[near].append(i)
    chosen: list[int] = []
    times: dict[int, int] = defaultdict(int)
    for _ in range(k):
        scores: dict[int, float] = {}
        for row, its in sorted(votes.items(), key=lambda item: len(item[1]), reverse=True):
            scores[row] = -100 if row in chosen else sum(10.0 ** -times[v] for v in its if v not in chosen)
        chosen.append(max(scores, key=scores.__getitem__))
        for voter in votes[chosen[-1]]:
            times[voter] += 1
    return np.array(chosen)


def facilities_by_apricot(x: npt.NDArray[np.float32], k: int, neighbours: int | None) -> Rows:
    peer = import_module("apricot")

    model = peer.FacilityLocationSelection(k, "cosine", optimizer="lazy", n_neighbors=neighbours)
    chosen: Rows = model.fit(x.astype(np.float64)).ranking
    return chosen


def facilities_by_submodlib(x: npt.NDArray[np.float32], k: int, neighbours: int | None) -> Rows:
    peer = import_module("submodlib")

    mode = "dense" if neighbours is None else "sparse"
    made = peer.FacilityLocationFunction(
        n=len(x), mode=mode, data=x, metric="cosine", num_neighbors=neighbours
    )
    return np.array([row for row, _ in made.maximize(k, optimizer="LazyGreedy", show_progress=False)])


def factors(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """(n, C) last-layer gradients by the logits, of a random linear head and its own labels."""
    logits = x @ np.random.default_rng(1).normal(size=(x.shape[1], CLASSES)) / 4
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(x)), p.argmax(axis=1)] -= 1
    return p


def gradients_by_tamis(x: npt.NDArray[np.float32], k: int) -> Rows:
    points = Factored(factors(x), x)
    key, first = mix64(np.arange(len(x), dtype=np.uint64)), int(points.square_norms.argmax())
    return k_means_plus_plus(points, k, key, first=first).index


def gradients_plainly(x: npt.NDArray[np.float32], k: int) -> Rows:
    """BADGE of Ash et al.: whole gradients, and in each step their distances from the last one chosen."""
    from sklearn.metrics import pairwise_distances

    rng = np.random.default_rng(0)
    g = (factors(x)[:, :, None] * x[:, None, :]).reshape(len(x), -1).astype(np.float32)
    chosen = [int((g * g).sum(axis=1).argmax())]
    far = pairwise_distances(g, g[chosen]).ravel()
    while len(chosen) < k:
        chosen.append(int(rng.choice(len(x), p=far.astype(np.float64) ** 2 / (far.astype(float) ** 2).sum())))
        far = np.minimum(far, pairwise_distances(g, g[chosen[-1:]]).ravel())
    return np.array(chosen)


WAYS: dict[str, Way] = {
    "k-center, tamis": lambda x, k: by(KCenter(keep_rows=k), x),
    "k-center, small-text": centres_by_small_text,
    "k-center, modAL": centres_by_modal,
    "vote-k, tamis": lambda x, k: by(VoteK(keep_rows=k, neighbours=NEIGHBOURS), x),
    "vote-k, plain": votes_plainly,
    "facility, tamis, 150 nearest": lambda x, k: by(FacilityLocation(keep_rows=k, neighbours=NEIGHBOURS), x),
    "facility, tamis, 150 nearest, sampled": lambda x, k: by(
        FacilityLocation(keep_rows=k, neighbours=NEIGHBOURS, epsilon=0.01), x
    ),
    "facility, apricot, 150 nearest": lambda x, k: facilities_by_apricot(x, k, NEIGHBOURS),
    "facility, apricot, all pairs": lambda x, k: facilities_by_apricot(x, k, None),
    "facility, submodlib, 150 nearest": lambda x, k: facilities_by_submodlib(x, k, NEIGHBOURS),
    "facility, submodlib, all pairs": lambda x, k: facilities_by_submodlib(x, k, None),
    "BADGE, tamis": gradients_by_tamis,
    "BADGE, plain": gradients_plainly,
}


def objective(name: str, x: npt.NDArray[np.float32], chosen: Rows) -> float:
    """What the method is for, of the rows chosen."""
    if name.startswith("BADGE"):
        points = Factored(factors(x), x)
        return float(np.sqrt(points.distances_to(np.asarray(chosen, np.int64)).min(axis=1)).mean())
    if name.startswith("vote-k"):
        near = top_k(x, x, NEIGHBOURS, own=np.arange(len(x))).index
        return float((np.isin(near, chosen).any(axis=1) | np.isin(np.arange(len(x)), chosen)).mean())
    wide = x.astype(np.float64)
    if name.startswith("k-center"):
        square = (wide * wide).sum(axis=1)
        far = square[:, None] + square[chosen] - 2 * wide @ wide[chosen].T
        return float(np.sqrt(np.maximum(far.min(axis=1), 0).max()))
    units = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return float(np.maximum(units @ units[chosen].T, 0).max(axis=1).mean())


def measured(name: str, folder: Path, given: argparse.Namespace) -> list[str]:
    """One line of the table."""
    cost, log, out = folder / "cost.json", folder / "log.txt", folder / f"{name}.npy"
    command = [sys.executable, "-m", "workflows.bench.selecting", str(folder), "--only", name]
    command += ["--budget", str(given.budget)]
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, str(given.threads)) | {"PYTHONPATH": str(ROOT)}
    launcher = [sys.executable, "-S", str(measure.__file__), str(cost), str(log)]
    limit = ["timeout", str(given.limit)]
    subprocess.run([*launcher, *limit, *command], env=environment, check=True)
    spent: dict[str, Any] = json.loads(cost.read_text("utf-8"))
    if spent["exit"] != 0:
        words = log.read_text("utf-8", "replace").strip().splitlines()[-1:] or [""]
        why = f"not in {given.limit} s" if spent["exit"] == 124 else words[0][:60]
        return [name, f"{spent['cpu_s']:.1f}", f"{spent['wall_s']:.1f}", "-", why]
    x, chosen = vectors_of(folder), np.load(out)
    figures = f"{objective(name, np.array(x), chosen):.4f}"
    if len(set(chosen.tolist())) < given.budget:
        figures += f", {len(set(chosen.tolist()))} different rows"
    ours = folder / f"{name.partition(',')[0]}, tamis.npy"
    if name == "vote-k, plain" and ours.exists():
        figures += f", {len(np.intersect1d(np.load(ours), chosen))} of {given.budget} rows the same"
    return [
        name,
        f"{spent['cpu_s']:.1f}",
        f"{spent['wall_s']:.1f}",
        f"{spent['peak_bytes'] / 1e6:,.0f}",
        figures,
    ]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--vectors", type=Path, help="a .npy file of floats; by default a planted mixture")
    arguments.add_argument("--rows", type=int, default=20_000, help="of the mixture")
    arguments.add_argument("--budget", type=int, default=200)
    arguments.add_argument("--ways", default="", help=f"some of: {'; '.join(WAYS)} (separated by ';')")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--limit", type=int, default=1800, help="seconds after which one is stopped")
    arguments.add_argument("--only", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.only:
        chosen = WAYS[given.only](np.array(vectors_of(given.out)), given.budget)
        np.save(given.out / f"{given.only}.npy", np.asarray(chosen, np.int64))
        return
    folder = given.out.resolve()
    folder.mkdir(parents=True)
    if given.vectors:
        np.save(folder / "vectors.npy", np.load(given.vectors).astype(np.float32))
    else:
        planted(folder, given.rows, MIXTURE)
    rows, d = vectors_of(folder).shape
    print(f"{given.budget} of {rows:,} x {d}, {given.threads} threads", flush=True)
    wanted = [name.strip() for name in given.ways.split(";") if name.strip()] or list(WAYS)
    lines = []
    for name in wanted:
        lines.append(measured(name, folder, given))
        print("; ".join(lines[-1]), flush=True)
    print(table(("", "CPU-s", "wall s", "peak MB", "objective"), lines))


if __name__ == "__main__":
    main()
