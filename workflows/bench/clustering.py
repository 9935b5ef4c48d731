"""Claim: k-means whose bits depend on no cut, worker or device clusters as well as others do.

    python -m workflows.bench.clustering OUT --rows 100000 --clusters 1000
    python -m workflows.bench.clustering OUT --vectors EMBEDDINGS.npy --clusters 77

Clusters the vectors of a file, or a planted mixture of so many rows and clusters in 384 dimensions, by
Euclidean distance: with tamis (a whole `tamis run` from Parquet, with all rows or mini-batches of a tenth),
scikit-learn and faiss, each in a process of its own. Prints CPU-seconds, wall time, peak memory, and of the
labels the inertia about the clusters' means and, on a mixture, the adjusted Rand index. Then the engines
beside it: the 10 nearest of 2,000 queries, by tamis and faiss, and k-center from the memory-mapped file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from gpu_ops.kernels.greedy import Dense, k_center
from gpu_ops.kernels.neighbours import top_k
from pipeline.cli import main as tamis
from workflows.bench import measure
from workflows.bench.tables import table

ROOT = Path(__file__).resolve().parents[2]
BLOCK, DIMENSIONS, QUERIES, NEAREST, CENTRES = 10_000, 384, 2000, 10, 100
CONFIG = """\
source: {{path: {vectors}, text: none}}
seed: 1
nodes:
  clusters: {{op: kmeans, metric: l2, clusters: {clusters}, rounds: 20{more}}}
export: {{input: clusters, path: {out}, format: parquet, columns: [cluster]}}
"""
Labels = npt.NDArray[np.integer[Any]]
Way = Callable[[Path, int], Labels | None]


def vectors_of(folder: Path) -> npt.NDArray[np.float32]:
    """The vectors, memory-mapped."""
    found: npt.NDArray[np.float32] = np.load(folder / "vectors.npy", mmap_mode="r")
    return found


def by_tamis(folder: Path, clusters: int, more: str = "") -> Labels:
    out = folder / "tamis"
    text = CONFIG.format(vectors=folder / "vectors.parquet", clusters=clusters, out=out, more=more)
    (folder / "clusters.yaml").write_text(text)
    if code := tamis(["run", str(folder / "clusters.yaml"), "--store", str(folder / "store")]):
        raise SystemExit(code)
    parts = [pq.ParquetFile(file).read(["cluster"]) for file in sorted(out.glob("*.parquet"))]
    labels: Labels = pa.concat_tables(parts).column("cluster").to_numpy()
    return labels


def by_tamis_in_batches(folder: Path, clusters: int) -> Labels:
    return by_tamis(folder, clusters, f", batch: {-(-len(vectors_of(folder)) // 10)}")


def by_sklearn(folder: Path, clusters: int) -> Labels:
    from sklearn.cluster import KMeans

    labels: Labels = KMeans(clusters, random_state=0).fit_predict(np.load(folder / "vectors.npy"))
    return labels


def by_sklearn_in_batches(folder: Path, clusters: int) -> Labels:
    from sklearn.cluster import MiniBatchKMeans

    labels: Labels = MiniBatchKMeans(clusters, random_state=0).fit_predict(np.load(folder / "vectors.npy"))
    return labels


def by_faiss(folder: Path, clusters: int) -> Labels:
    import faiss

    x = np.load(folder / "vectors.npy")
    model = faiss.Kmeans(x.shape[1], clusters, niter=20, seed=1)
    model.train(x)
    labels: Labels = model.index.search(x, 1)[1][:, 0]
    return labels


def nearest_by_tamis(folder: Path, clusters: int) -> None:
    x = vectors_of(folder)
    top_k(np.array(x[:QUERIES]), x, NEAREST, "l2")


def nearest_by_faiss(folder: Path, clusters: int) -> None:
    import faiss

    x = np.load(folder / "vectors.npy")
    index = faiss.IndexFlatL2(x.shape[1])
    index.add(x)
    index.search(x[:QUERIES], NEAREST)


def centres_by_tamis(folder: Path, clusters: int) -> None:
    k_center(Dense(vectors_of(folder)), CENTRES)


WAYS: dict[str, Way] = {
    "tamis": by_tamis,
    "tamis, batches": by_tamis_in_batches,
    "scikit-learn KMeans": by_sklearn,
    "scikit-learn MiniBatchKMeans": by_sklearn_in_batches,
    "faiss": by_faiss,
    "top 10 of 2,000, tamis": nearest_by_tamis,
    "top 10 of 2,000, faiss": nearest_by_faiss,
    "100 centres, tamis": centres_by_tamis,
}


def planted(folder: Path, rows: int, clusters: int) -> None:
    """A mixture of Gaussians of equal width, written in blocks, with its truth in truth.npy."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(clusters, DIMENSIONS)).astype(np.float32)
    truth = rng.integers(0, clusters, rows)
    x = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (rows, DIMENSIONS))
    for start in range(0, rows, BLOCK):
        mine = truth[start : start + BLOCK]
        x[start : start + BLOCK] = centres[mine] + rng.normal(size=(len(mine), DIMENSIONS))
    x.flush()
    np.save(folder / "truth.npy", truth)


def as_parquet(folder: Path) -> None:
    """The vectors as tamis reads them."""
    x = vectors_of(folder)
    kind = pa.list_(pa.float32(), x.shape[1])
    schema = pa.schema({"none": pa.string(), "embedding": kind})
    with pq.ParquetWriter(folder / "vectors.parquet", schema) as writer:
        for start in range(0, len(x), BLOCK):
            part = np.array(x[start : start + BLOCK], np.float32)
            lists = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), part.shape[1])
            writer.write_table(pa.table([pa.array([""] * len(part)), lists], schema=schema))


def inertia(x: npt.NDArray[np.float32], label: Labels, clusters: int) -> float:
    """The sum of squared distances from the mean of each cluster."""
    sums, square = np.zeros((clusters, x.shape[1])), 0.0
    for start in range(0, len(x), BLOCK):
        part = np.array(x[start : start + BLOCK], np.float64)
        square += float((part * part).sum())
        np.add.at(sums, label[start : start + BLOCK], part)
    sizes = np.maximum(np.bincount(label, minlength=clusters), 1)
    return square - float(((sums * sums).sum(axis=1) / sizes).sum())


def measured(name: str, folder: Path, clusters: int, threads: int) -> dict[str, Any]:
    """What one way costs in a process of its own; RuntimeError with its last words where it fails."""
    cost, log = folder / "cost.json", folder / "log.txt"
    command = [sys.executable, "-m", "workflows.bench.clustering", str(folder), "--only", name]
    launcher = [sys.executable, "-S", str(measure.__file__), str(cost), str(log), *command]
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, str(threads)) | {"PYTHONPATH": str(ROOT)}
    subprocess.run([*launcher, "--clusters", str(clusters)], env=environment, check=True)
    spent: dict[str, Any] = json.loads(cost.read_text("utf-8"))
    if spent["exit"] != 0:
        raise RuntimeError(f"{name} failed: {log.read_text('utf-8', 'replace')[-500:]}")
    return spent


def judged(name: str, folder: Path, clusters: int, threads: int) -> list[str]:
    """One line of the table."""
    labels = folder / "labels.npy"
    labels.unlink(missing_ok=True)
    spent = measured(name, folder, clusters, threads)
    line = [name, f"{spent['cpu_s']:.1f}", f"{spent['wall_s']:.1f}", f"{spent['peak_bytes'] / 1e6:,.0f}"]
    if not labels.exists():
        return [*line, "-", "-"]
    label = np.load(labels)
    line.append(f"{inertia(vectors_of(folder), label, clusters):,.1f}")
    if not (folder / "truth.npy").exists():
        return [*line, "-"]
    from sklearn.metrics import adjusted_rand_score

    return [*line, f"{adjusted_rand_score(np.load(folder / 'truth.npy'), label):.4f}"]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--vectors", type=Path, help="a float32 .npy file; by default a planted mixture")
    arguments.add_argument("--rows", type=int, default=100_000, help="of the mixture")
    arguments.add_argument("--clusters", type=int, default=1000)
    arguments.add_argument("--ways", default="", help=f"some of: {'; '.join(WAYS)} (separated by ';')")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--only", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.only:
        label = WAYS[given.only](given.out, given.clusters)
        if label is not None:
            np.save(given.out / "labels.npy", label)
        return
    folder = given.out.resolve()
    folder.mkdir(parents=True)
    if given.vectors:
        np.save(folder / "vectors.npy", np.load(given.vectors).astype(np.float32))
    else:
        planted(folder, given.rows, given.clusters)
    as_parquet(folder)
    rows, d = vectors_of(folder).shape
    print(f"{rows:,} x {d}, {given.clusters:,} clusters, {given.threads} threads", flush=True)
    wanted = [name.strip() for name in given.ways.split(";") if name.strip()] or list(WAYS)
    head = ("", "CPU-s", "wall s", "peak MB", "inertia", "ARI")
    print(table(head, [judged(name, folder, given.clusters, given.threads) for name in wanted]))


if __name__ == "__main__":
    main()
