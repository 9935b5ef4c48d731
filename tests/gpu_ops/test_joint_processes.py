"""A classifier with joint losses in two processes: the weights of one process, however rows divide."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pair import Pair
from trained import STORIES, relative, rows_of, train, weights_of

from gpu_ops.trainer.compare import Arm, _jobs
from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.config_parts import LlamaShape, MlpShape, Parallel

torch.set_num_threads(1)
LLAMA = {"model": LlamaShape(hidden=16, layers=2, heads=2), "tokenizer": STORIES}
VECTORS = {"model": MlpShape(mlp=(8,)), "features": "embedding"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Iterator[Pair]:
    started = Pair(tmp_path_factory.mktemp("pair"))
    yield started
    started.close()


def job_of(folder: Path, name: str, **fields):
    data = folder / "data"
    data.mkdir(exist_ok=True)
    rows = [
        {"text": f"{i}: the {('cat', 'dog')[i % 2]} ran" + " on" * (i % 5), "label": i % 2}
        | {"embedding": [float(i % 2), float(i % 3)], "domain": f"d{i % 2}"}
        for i in range(20)
    ]
    pq.write_table(pa.Table.from_pylist(rows), data / "a.parquet")
    start = {"objective": "classification", "label": "label", "examples": 30, "batch_size": 5, "seq_len": 16}
    fields = TrainConfig(**{**start, "micro_batch": 2, "evals": 2, "lr": 1e-3, **fields})
    return _jobs(fields, [Arm("arm", {3: str(data)}, True)], [3], str(data), folder / name)[1]


@pytest.mark.parametrize("joint", [[], [{"weight": 0.5}, {"weight": 0.25, "batch_size": 3}]])
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_weights_are_those_of_one_process(tmp_path, pair, kind, joint) -> None:
    settings = {**LLAMA, "joint": joint, "parallel": Parallel(kind=kind)}
    if joint:
        settings["micro_batch"] = 4
    alone, both = (job_of(tmp_path, name, **settings) for name in ("alone", "both"))
    want = train(alone, True)
    one, other = pair.call(train, both)
    assert one["curve"] == other["curve"]
    assert one["curve"][-1]["all"] == pytest.approx(want["curve"][-1]["all"], rel=1e-4)
    assert one["flops"] == want["flops"]
    got, expected = weights_of(both), weights_of(alone)
    assert got.keys() == expected.keys()
    assert relative([w.numpy() for w in got.values()], [w.numpy() for w in expected.values()]) < 1e-4
    if joint:
        pairs = zip(rows_of(both, "joint_losses"), rows_of(alone, "joint_losses"), strict=True)
        assert all(a["joint_losses"] == pytest.approx(b["joint_losses"], rel=1e-4) for a, b in pairs)


def test_vectors_are_classified_by_two_processes_too(tmp_path, pair) -> None:
    alone, both = (job_of(tmp_path, n, **VECTORS, parallel=Parallel(kind="ddp")) for n in ("alone", "both"))
    train(alone, True)
    pair.call(train, both)
    got, expected = weights_of(both), weights_of(alone)
    assert relative([w.numpy() for w in got.values()], [w.numpy() for w in expected.values()]) < 1e-5
