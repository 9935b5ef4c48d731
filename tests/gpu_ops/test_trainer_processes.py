"""Several processes that train one model: gradients, weights and losses of one, and any can go on."""

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
    with_config,
)

from gpu_ops.trainer.config_parts import Parallel

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


SELECTIONS = [None, {"kind": "selective_backprop", "cap": 90}, {"kind": "gradient_bound", "cap": 90}]


@pytest.mark.parametrize("select", SELECTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_weights_after_twenty_steps_are_those_of_one_process(tmp_path, pair, kind, select):
    fields = config_of(batch_size=5, micro_batch=2, tokens=20 * 5 * 16, dtype="float64", select=select)
    fields = fields.model_copy(update={"parallel": Parallel(kind=kind)})
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
    figures, expected = (rows_of(job, "batches", "loss", "gradient_norm") for job in (both, alone))
    assert len(figures) == 20
    for row, known in zip(figures, expected, strict=True):
        assert row.pop("batches") == known.pop("batches")
        assert row == pytest.approx(known, rel=1e-9)


CHANGES = [("ddp", "ddp"), ("fsdp", "fsdp"), ("fsdp", "one"), ("one", "fsdp")]


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_a_run_goes_on_with_other_processes(tmp_path, pair, before, after):
    fields = config_of(checkpoint_every=2, batch_size=3, tokens=6 * 48)
    run, whole = (job_of(tmp_path, name, fields) for name in ("run", "whole"))
    jobs = {kind: with_config(run, parallel=Parallel(kind=kind)) for kind in KINDS}
    train(whole, True)
    if before == "one":
        stopped_after(run, 3, True)
    else:
        assert pair.call(stopped_after, jobs[before], 3) == [[1, 2, 3], []]
    if after == "one":
        train(run, True)
    else:
        pair.call(train, jobs[after])
    losses, expected = (np.array([row["loss"] for row in rows_of(job, "loss")]) for job in (run, whole))
    assert len(losses) == 6
    assert losses == pytest.approx(expected, rel=1e-5)
    got, want = ([weight.numpy() for weight in weights_of(job).values()] for job in (run, whole))
    assert relative(got, want) < 1e-5
