"""Claim: undersampling buys recall of a rare class at the price of ranking; cleverer choices of rows than
random ones lose to them or tie, a cascade with one constant (MESA without its reinforcement learning) wins.

    python -m workflows.undersampling keep FILE.parquet EMBEDDINGS.npy [--label label]
    python -m workflows.undersampling balance FILE.parquet EMBEDDINGS.npy [--label label] [--seeds 20]
    python -m workflows.undersampling mesa mammography.parquet [--seeds 20]

EMBEDDINGS.npy: (rows, d), in the order of the file. `keep`: how far the distribution of what is kept at
10 % is from that of all (Kolmogorov-Smirnov, over the first 10 principal components and the text's length):
random, stratified, k-means coresets with and without weights, and for scale a choice by hardness.
`balance`: one class is thinned to 5 % of the training rows; logistic regression on what each operator keeps,
G-mean (of both recalls at p = 1/2) and AUC on a balanced test set; differences from random undersampling to
50:50 on the same rows, with standard errors over seeds. Controls: random undersampling with another seed,
and instance hardness with probabilities that were permuted. `mesa`: the area under the precision-recall
curve (AUCPRC) on the test split of Mammography with 10 and 20 decision trees.

Found (sentence_polarity; subjectivity): MESA with mu chosen .647 and .694 (10, 20 trees; 20 seeds; random
subsets .406, .481). `balance`, 5 seeds, MiniLM embeddings: all rows -> random 50:50, G-mean .067 -> .711
and .502 -> .887, AUC .804 -> .785 and .963 -> .955; against 50:50 NearMiss 1 -.258 +- .006 and -.132 +-
.008, NearMiss 3 -.046 and -.014, instance hardness -.070 and -.045 (permuted +.005, -.001), cluster
centroids -.015 +- .005 and +.006 +- .002; Tomek, ENN and Hart's rule clean and do not balance (-.25 to
-.64), with an AUC like all rows'. With words .000 -> .613 and .026 -> .817; 35:65 does not reach .60
(.114, .520). `keep`, 5 seeds (k-means 3), KS of 10 %, the largest of 11 measures: random .036 and .036,
weighted k-means .155 and .129; .02 is reached only for the measure that is stratified by (length .002 and
.003), and on the mean of all by nothing (.023 at best).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from gpu_ops.cluster_centroids import ClusterCentroids
from gpu_ops.condensed_neighbours import CondensedNeighbours
from gpu_ops.edited_neighbours import EditedNeighbours
from gpu_ops.eval_subset import EvalSubset
from gpu_ops.instance_hardness import InstanceHardness
from gpu_ops.mesa import Mesa
from gpu_ops.near_miss import NearMiss
from gpu_ops.tomek_links import TomekLinks
from operators.contract import FitOp
from operators.kernels.counter import mix64, uniform

Rows = np.ndarray
RARE = 0.05
MUS = (0.0, 0.25, 0.5, 0.75, 1.0)


def answer(op: FitOp, **columns: Any) -> pa.RecordBatch:
    """What the operator adds to these columns; vectors as an array (n, d)."""
    n = len(next(iter(columns.values())))
    made = {"uid": np.arange(n), "key": mix64(np.arange(n).astype(np.uint64)), **columns}
    if "embedding" in made:
        made["embedding"] = pa.FixedSizeListArray.from_arrays(
            pa.array(made["embedding"].astype(np.float32).reshape(-1)), made["embedding"].shape[1]
        )
    batch = pa.record_batch({name: pa.array(column) for name, column in made.items()})
    return pa.record_batch(dict(op.columns(batch, op.fit(iter([batch]), "cpu", {}))))


def kept(found: pa.RecordBatch) -> Rows:
    """The rows without a reason to go."""
    return np.flatnonzero(found["drop"].is_null())


def told(name: str, values: np.ndarray, baseline: np.ndarray) -> str:
    """Mean, and the paired difference from the baseline with its standard error over seeds (rows)."""
    apart = values - baseline
    error = apart.std(axis=0, ddof=1) / np.sqrt(len(apart))
    columns = zip(values.mean(axis=0), apart.mean(axis=0), error, strict=True)
    return f"  {name:32}" + "".join(f"{m:8.3f} {d:+.3f} +- {e:.3f}" for m, d, e in columns)


def keep(arguments: argparse.Namespace) -> None:
    """Prints the largest and the mean KS distance of what is kept at 10 %, by method, over seeds."""
    texts, label, x = data(arguments)
    centred = x - x.mean(axis=0)
    parts = centred @ np.linalg.svd(centred, full_matrices=False)[2][:10].T
    length = np.array([len(text) for text in texts], float)
    measures = np.column_stack([parts, length])
    k = len(x) // 10
    print(
        f"{len(x):,} rows, {k:,} kept; KS over {measures.shape[1]} measures: largest, mean; of length alone"
    )
    found: dict[str, list[list[float]]] = {}
    for seed in seeds_of(arguments):
        luck = uniform(seed, mix64(np.arange(len(x)).astype(np.uint64)))
        plain = np.sort(np.argsort(luck)[:k])
        strata = answer(EvalSubset(keep_rows=k, strata="label", seed=seed), label=label)
        by_length = {"proxy": "length", "bins": k // 4, "strata": "label"}
        binned = answer(EvalSubset(keep_rows=k, seed=seed, **by_length), label=label, length=length)
        by_part = {"proxy": "part", "bins": k // 4, "strata": "label"}
        main = answer(EvalSubset(keep_rows=k, seed=seed, **by_part), label=label, part=parts[:, 0])
        ones = np.ones(k)
        rows = {"random": (plain, ones), "stratified by label": (kept(strata), ones)}
        rows["stratified by label x length"] = weighted(binned)
        rows["stratified by label x component 1"] = weighted(main)
        if seed < 3:  # minutes of k-means otherwise
            core = coreset(x, k, seed)
            rows["k-means coreset, 3 seeds"], rows["k-means coreset, weighted, 3"] = (core[0], ones), core
        easy = np.argsort(
            -answer(InstanceHardness(seed=seed), embedding=x, label=label)["p_label"].to_numpy()
        )
        rows["surest labels (no sample)"] = (easy[:k], ones)
        for name, (which, weight) in rows.items():
            far = [distance(measures[:, j], which, weight) for j in range(measures.shape[1])]
            found.setdefault(name, []).append([max(far), float(np.mean(far)), far[-1]])
    for name, values in found.items():
        mean, error = np.mean(values, axis=0), np.std(values, axis=0, ddof=1) / np.sqrt(len(values))
        print(f"  {name:36}" + "".join(f"{m:7.3f} +- {e:.3f}" for m, e in zip(mean, error, strict=True)))


def seeds_of(arguments: argparse.Namespace) -> Iterator[int]:
    """The seeds, saying which one it is: each takes seconds to minutes."""
    for seed in range(arguments.seeds):
        print(f"seed {seed + 1} of {arguments.seeds}", file=sys.stderr, flush=True)
        yield seed


def weighted(found: pa.RecordBatch) -> tuple[Rows, np.ndarray]:
    """The rows that stay, and their weights."""
    rows = kept(found)
    return rows, found["weight"].to_numpy(zero_copy_only=False)[rows]


def coreset(x: np.ndarray, k: int, seed: int) -> tuple[Rows, np.ndarray]:
    """k rows of k-means clusters: the operator thins all rows, one class, beside a far class of k copies."""
    both = np.concatenate([x, np.full((k, x.shape[1]), 9.0)])
    names = np.repeat([0, 1], [len(x), k])
    found = answer(ClusterCentroids(seed=seed, iterations=10), embedding=both, label=names)
    rows, weight = weighted(found)
    return rows[rows < len(x)], weight[rows < len(x)]


def distance(values: np.ndarray, rows: Rows, weight: np.ndarray) -> float:
    """Kolmogorov-Smirnov distance of the weighted rows from all."""
    order = np.argsort(values, kind="stable")
    mass = np.zeros(len(values))
    mass[rows] = weight / weight.sum()
    last = np.append(values[order][1:] != values[order][:-1], True)  # ties count together
    apart = np.cumsum(mass[order]) - np.arange(1, len(values) + 1) / len(values)
    return float(np.abs(apart[last]).max())


def data(arguments: argparse.Namespace) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Texts, labels and float32 embeddings."""
    table = pq.ParquetFile(arguments.file).read(["text", arguments.label])
    label = np.array(table.column(arguments.label).to_pylist())
    x = np.load(arguments.embeddings).astype(np.float32)
    if len(x) != len(label):
        raise ValueError(f"{arguments.embeddings} has {len(x)} rows, {arguments.file} {len(label)}")
    return table.column("text").to_pylist(), label, x


def random_rows(label: np.ndarray, ratio: float, seed: int) -> Rows:
    """All rare rows (1), and as many common ones as the ratio of rare to common says."""
    rare, common = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
    luck = uniform(seed, mix64(common.astype(np.uint64)))
    return np.concatenate([rare, common[np.argsort(luck)[: int(len(rare) / ratio)]]])


def permuted_hardness(x: np.ndarray, label: np.ndarray, seed: int) -> Rows:
    """The placebo: instance hardness whose probabilities belong to other rows of the class."""
    p = answer(InstanceHardness(seed=seed), embedding=x, label=label)["p_label"].to_numpy().copy()
    rare, common = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
    p[common] = p[np.random.default_rng(seed).permutation(common)]
    return np.concatenate([rare, common[np.argsort(-p[common])[: len(rare)]]])


def choices(seed: int) -> dict[str, Callable[[np.ndarray, np.ndarray], Rows]]:
    """Name -> what a method keeps of vectors and labels; the first one is the baseline."""

    def by(op: FitOp) -> Callable[[np.ndarray, np.ndarray], Rows]:
        return lambda x, label: kept(answer(op, embedding=x, label=label))

    return {
        "random 50:50": lambda x, label: random_rows(label, 1.0, seed),
        "random 50:50, another seed": lambda x, label: random_rows(label, 1.0, seed + 1000),
        "random 35:65": lambda x, label: random_rows(label, 35 / 65, seed),
        "all rows": lambda x, label: np.arange(len(label)),
        "NearMiss 1": by(NearMiss()),
        "NearMiss 2": by(NearMiss(variant=2)),
        "NearMiss 3": by(NearMiss(variant=3)),
        "Tomek links": by(TomekLinks()),
        "ENN": by(EditedNeighbours()),
        "ENN repeated": by(EditedNeighbours(variant="repeated")),
        "AllKNN": by(EditedNeighbours(variant="all_knn")),
        "cleaning rule": by(EditedNeighbours(variant="cleaning_rule")),
        "condensed (Hart)": by(CondensedNeighbours(seed=seed)),
        "one-sided selection": by(CondensedNeighbours(variant="one_sided", seed=seed)),
        "instance hardness": by(InstanceHardness(seed=seed)),
        "instance hardness, permuted": lambda x, label: permuted_hardness(x, label, seed),
        "cluster centroids": by(ClusterCentroids(seed=seed)),
    }


def balance(arguments: argparse.Namespace) -> None:
    """Prints G-mean and AUC on embeddings for every method, and of random undersampling on words."""
    texts, label, x = data(arguments)
    code = np.unique(label, return_inverse=True)[1]
    found: dict[str, list[tuple[float, float]]] = {}
    sizes: dict[str, list[int]] = {}
    words: dict[str, list[tuple[float, float]]] = {}
    for seed in seeds_of(arguments):
        train, test = split(code, seed)
        for name, choose in choices(seed).items():
            rows = choose(x[train], code[train])
            sizes.setdefault(name, []).append(len(rows))
            found.setdefault(name, []).append(scores(x[train][rows], code[train][rows], x[test], code[test]))
        words_of(texts, code, train, test, seed, words)
    rare = int((code[train] == 1).sum())
    print(f"{len(train):,} training rows, {rare} rare; {arguments.seeds} seeds; minus random 50:50")
    print(f"  {'embeddings':32}{'G-mean':>8} {'difference':>16}{'AUC':>8} {'difference':>16}  rows")
    for name, values in found.items():
        baseline = np.array(found["random 50:50"])
        print(told(name, np.array(values), baseline) + f"  {np.mean(sizes[name]):,.0f}")
    print("  words (TF-IDF)")
    for name, values in words.items():
        print(told(name, np.array(values), np.array(words["random 50:50"])))


def words_of(texts: Sequence[str], code: Any, train: Rows, test: Rows, seed: int, found: Any) -> None:
    """Random undersampling and all rows on TF-IDF, the features of the claim."""
    tfidf = TfidfVectorizer(min_df=2, sublinear_tf=True)
    theirs = tfidf.fit_transform([texts[i] for i in train])
    asked = tfidf.transform([texts[i] for i in test])
    for name in ("random 50:50", "random 50:50, another seed", "random 35:65", "all rows"):
        rows = choices(seed)[name](np.zeros((len(train), 1)), code[train])
        found.setdefault(name, []).append(scores(theirs[rows], code[train][rows], asked, code[test]))


def split(code: np.ndarray, seed: int) -> tuple[Rows, Rows]:
    """Half of the rows to train on, class 1 thinned to 5 % of them; of the rest as many of each class."""
    luck = np.random.default_rng(seed)
    order = luck.permutation(len(code))
    half, rest = order[: len(code) // 2], order[len(code) // 2 :]
    common, rare = half[code[half] == 0], half[code[half] == 1]
    train = np.sort(np.concatenate([common, rare[: int(len(common) * RARE / (1 - RARE))]]))
    each = min(int((code[rest] == one).sum()) for one in (0, 1))
    return train, np.concatenate([rest[code[rest] == one][:each] for one in (0, 1)])


def scores(x: Any, label: np.ndarray, asked: Any, truth: np.ndarray) -> tuple[float, float]:
    """G-mean at p = 1/2 and AUC of logistic regression."""
    p = LogisticRegression(max_iter=1000).fit(x, label).predict_proba(asked)[:, 1]
    recalls = [((p >= 0.5) == one)[truth == one].mean() for one in (0, 1)]
    return float(np.sqrt(recalls[0] * recalls[1])), float(roc_auc_score(truth, p))


def mesa(arguments: argparse.Namespace) -> None:
    """Prints the area on the test split for each mu, for the chosen one and for controls."""
    table = pq.ParquetFile(arguments.file).read()
    names = [name for name in table.column_names if name not in ("label", "split")]
    x = np.column_stack([table.column(name).to_numpy() for name in names])
    part = np.array(table.column("split").to_pylist())
    truth = table.column("label").to_numpy()
    label, test = pa.array(truth, mask=part == "test"), part == "test"
    for learners in (10, 20):
        found: dict[str, list[float]] = {}
        for seed in range(arguments.seeds):
            ops: dict[str, Mesa] = {
                "random subsets": Mesa(
                    seed=seed, learners=learners, mus=(0.5,), sigma=1e6, validation="valid"
                ),
                "random subsets, another seed": Mesa(
                    seed=seed + 1000, learners=learners, mus=(0.5,), sigma=1e6, validation="valid"
                ),
                "mu chosen": Mesa(seed=seed, learners=learners, validation="valid"),
            }
            ops |= {
                f"mu {mu:g}": Mesa(seed=seed, learners=learners, mus=(mu,), validation="valid") for mu in MUS
            }
            for name, op in ops.items():
                p = answer(op, embedding=x, label=label, valid=part == "valid")["probability"].to_numpy()
                found.setdefault(name, []).append(float(average_precision_score(truth[test], p[test])))
        baseline = np.array(found["random subsets"])[:, None]
        print(f"{learners} trees, {arguments.seeds} seeds: AUCPRC on test, minus random subsets")
        for name, values in found.items():
            deviation = np.std(values, ddof=1)
            print(told(name, np.array(values)[:, None], baseline) + f"  (std over seeds {deviation:.3f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    studies = parser.add_subparsers(required=True)
    for study, seeds in ((keep, 5), (balance, 20), (mesa, 20)):
        one = studies.add_parser(study.__name__)
        one.add_argument("file", type=Path)
        if study is not mesa:
            one.add_argument("embeddings", type=Path)
            one.add_argument("--label", default="label")
        one.add_argument("--seeds", type=int, default=seeds, help="at least 2, for standard errors")
        one.set_defaults(study=study)
    chosen = parser.parse_args()
    if chosen.seeds < 2:
        parser.error(f"--seeds {chosen.seeds}: standard errors need at least 2")
    began = time.process_time()
    chosen.study(chosen)
    print(f"{time.process_time() - began:.0f} CPU-seconds")
