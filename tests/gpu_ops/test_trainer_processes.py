"""Several processes that train one model: the same gradients, weights and losses as one, and any can go on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from pair import Pair
from trained import (
    config_of,
    gradients,
    job_of,
    relative,
    rows_of,
    stopped_after,
    train,
    train_ragged,
    weights_of,
)

from gpu_ops.trainer.config import Parallel

torch.set_num_threads(1)
KINDS = ("ddp", "fsdp")


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Iterator[Pair]:
    started = Pair(tmp_path_factory.mktemp("pair"))
    yield started
    started.close()


@pytest.mark.parametrize(("rows", "micro"), [(5, 1), (4, None), (5, 2), (1, None)])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_one_process(tmp_path, pair, kind, rows, micro):
    fields = config_of(batch_size=rows, micro_batch=micro, tokens=rows * 16, parallel=Parallel(kind=kind))
    want = gradients(job_of(tmp_path, "alone", fields), alone=True)
    for got in pair.call(gradients, job_of(tmp_path, "both", fields)):
        assert relative(list(got.values()), list(want.values())) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_weights_after_twenty_steps_are_those_of_one_process(tmp_path, pair, kind):
    fields = config_of(
        batch_size=5, micro_batch=2, tokens=20 * 5 * 16, dtype="float64", parallel=Parallel(kind=kind)
    )
    alone, both = (job_of(tmp_path, name, fields) for name in ("alone", "both"))
    want = train_ragged(alone, True)
    one, other = pair.call(train_ragged, both)
    assert one["curve"] == other["curve"]
    assert one["curve"][-1]["all"] == pytest.approx(want["curve"][-1]["all"], rel=1e-6)
    assert one["parameters"] == want["parameters"]
    got, expected = weights_of(both), weights_of(alone)
    assert got.keys() == expected.keys()
    for name, weight in expected.items():
        assert weight.dtype == torch.float64
        assert (got[name] - weight).abs().max() < 1e-10 * weight.abs().max()
    assert len(rows_of(both, "loss")) == 20


@pytest.mark.parametrize(
    ("before", "after"), [("ddp", "ddp"), ("fsdp", "fsdp"), ("fsdp", "one"), ("one", "fsdp")]
)
def test_a_run_goes_on_with_other_processes(tmp_path, pair, before, after):
    jobs = {
        kind: job_of(
            tmp_path,
            "run",
            config_of(checkpoint_every=2, batch_size=3, tokens=6 * 48, parallel=Parallel(kind=kind)),
        )
        for kind in KINDS
    }
    whole = job_of(tmp_path, "whole", jobs["ddp"].config)
    train(whole, True)
    if before == "one":
        stopped_after(jobs["ddp"], 3, True)
    else:
        told = pair.call(stopped_after, jobs[before], 3)
        assert told == [[1, 2, 3], []]
    if after == "one":
        train(jobs["ddp"], True)
    else:
        pair.call(train, jobs[after])
    got, want = (np.array([row["loss"] for row in rows_of(job, "loss")]) for job in (jobs["ddp"], whole))
    assert len(got) == 6
    assert got == pytest.approx(want, rel=1e-5)
    assert (
        relative(
            [w.numpy() for w in weights_of(jobs["ddp"]).values()],
            [w.numpy() for w in weights_of(whole).values()],
        )
        < 1e-5
    )
