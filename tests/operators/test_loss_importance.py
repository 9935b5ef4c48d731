"""Samplers that seek large losses: guarded against noise, unbiased, switched off where they bring nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from memory_engine import World, run

from operators.gradient_importance import GradientImportance
from operators.importance import Importance
from operators.loss_importance import LossImportance
from operators.seek_weight import SeekWeight
from operators.tau_switch import TauSwitch

LOSSES = [0.1, 2.0, None, 0.4, math.nan, 9.0, math.inf, 0.0, 1.0, 0.7]


def table(losses: Any, **columns: Any) -> pa.Table:
    return pa.table({"loss": pa.array(losses, pa.float64()), **columns})


def test_a_guard_is_asked_for() -> None:
    message = r"27 to 63 % of the chosen ones were. Give `cap: 90` .*`reference`.*`noise: accepted`"
    with pytest.raises(ValueError, match=message):
        LossImportance(keep_rows=2)
    with pytest.raises(ValueError, match="wrong labels"):
        GradientImportance(keep_rows=2)
    for guard in ({"cap": 90}, {"reference": "other"}, {"noise": "accepted"}):
        LossImportance(keep_rows=2, **guard)
    with pytest.raises(ValueError, match="loss_importance takes one of keep_rows, keep_share, keep_tokens"):
        LossImportance(cap=90)


def test_reasons() -> None:
    data = table(LOSSES, bad=pa.array([None, False, False, True] + [False] * 6, pa.bool_()))
    got = run(LossImportance(cap=75, suspect="bad", keep_rows=9, seed=1), data).column("drop").to_pylist()
    no = "no_score"  # of 8 losses the highest 2 are above the cap; 0.0 is a weight of 0
    assert got == [None, None, no, "suspect", no, "too_high", "too_high", no, None, None]
    assert (
        run(LossImportance(cap=75, keep_rows=1, seed=1), data).column("drop").to_pylist().count("not_sampled")
        == 4
    )


def test_the_same_rows_as_importance_by_the_loss() -> None:
    losses = np.random.default_rng(1).gamma(2, size=300)
    ours = run(LossImportance(noise="accepted", keep_rows=60, seed=3, exponent=1), table(losses))
    plain = run(Importance(score="loss", score_is="weight", keep_rows=60, seed=3), table(losses))
    assert ours.column("drop").to_pylist() == plain.column("drop").to_pylist()
    assert ours.column("weight").equals(plain.column("weight"))
    for exponent in (0.5, 0.0):
        op = LossImportance(noise="accepted", keep_rows=60, seed=3, exponent=exponent)
        power = np.asarray(run(op, table(losses)).column("weight").drop_null())
        np.testing.assert_allclose(power, np.asarray(plain.column("weight").drop_null()) ** exponent)


def test_smoothing_gives_known_rows_a_chance() -> None:
    data = table([0.0] * 50 + [1.0] * 50)
    kept = run(LossImportance(noise="accepted", keep_rows=60, seed=1), data).column("drop").to_pylist()
    assert kept.count("no_score") == 50
    kept = (
        run(LossImportance(noise="accepted", keep_rows=60, smoothing=1, seed=1), data)
        .column("drop")
        .to_pylist()
    )
    assert kept.count(None) == 60
    assert kept[50:].count(None) > kept[:50].count(None) > 5


def test_a_reference_leaves_what_cannot_be_learnt() -> None:
    data = table([2.0, 2.0, 0.5, 0.1], held=[1.9, 0.1, 0.6, None])
    op = LossImportance(reference="held", keep_rows=4, seed=1)
    assert run(op, data).column("drop").to_pylist() == [None, None, "no_score", "no_score"]
    shares = [run(op.model_copy(update={"keep_rows": 1, "seed": s}), data) for s in range(40)]
    firsts = [out.column("drop").to_pylist().index(None) for out in shares]
    assert firsts.count(1) > 28  # 0.1 against 1.9


def test_a_negative_loss_is_named() -> None:
    with pytest.raises(ValueError, match=r"loss is -0.5 at uid 1; .*name both: `score` and `reference`"):
        run(LossImportance(cap=90, keep_rows=1), table([1.0, -0.5]))


def test_weighted_means_are_unbiased() -> None:
    losses = np.random.default_rng(2).gamma(0.5, size=200) + 0.05
    data, estimates = table(losses), []
    for seed in range(60):
        weight = run(
            GradientImportance(score="loss", noise="accepted", keep_rows=40, min_tau=None, seed=seed), data
        )
        estimates.append(float((np.asarray(weight.column("weight").fill_null(0.0)) * losses).sum()))
    assert abs(np.mean(estimates) - losses.sum()) < 3 * np.std(estimates) / math.sqrt(60)


@pytest.mark.parametrize(("losses", "on"), [([1.0, 1.1, 0.9] * 40, False), ([0.001] * 117 + [5.0] * 3, True)])
def test_the_switch(losses: list[float], on: bool) -> None:
    op = GradientImportance(score="loss", noise="accepted", keep_rows=30, seed=1)
    got, free = (run(o, table(losses)) for o in (op, op.model_copy(update={"min_tau": None})))
    uniform = Importance(score="one", score_is="weight", keep_rows=30, seed=1)
    drawn = run(uniform, table(losses, one=np.ones(len(losses))))
    same = free if on else drawn
    assert got.column("drop").to_pylist() == same.column("drop").to_pylist()
    assert got.column("weight").equals(same.column("weight"))


def test_each_group_has_its_switch_and_its_cap() -> None:
    losses = np.tile([1.0, 1.1, 0.001, 0.001, 0.001, 0.001, 0.001, 5.0], 10)
    groups = ["flat", "flat", *["steep"] * 6] * 10
    world = World(table(losses, g=groups), 7, None)
    op = GradientImportance(score="loss", cap=90, keep_rows=5, group="g", seed=1)
    world.execute("face", op, {})
    weight = np.array(world.columns["/switch.weight"].to_pylist(), float)
    assert weight[:2].tolist() == [1.0, 1.0]
    assert weight[2] == 0.001
    drops = world.columns["/face.drop"].to_pylist()
    assert [drops[i] for i in range(80) if groups[i] == "flat"].count("too_high") == 2
    assert [drops[i] for i in range(80) if groups[i] == "steep"].count("too_high") == 6


def test_the_parts_by_themselves() -> None:
    batch = pa.RecordBatch.from_pydict(
        {
            "loss": pa.array([1.0, None, 3.0]),
            "uid": np.arange(3),
            "/below.within": pa.array([True, None, False]),
        }
    )
    got = SeekWeight(score="loss", capped=True, smoothing=0.5).columns(batch, {})
    assert got["weight"].to_pylist() == [1.5, None, None]
    assert got["why"].to_pylist() == [None, "no_score", "too_high"]
    size = {"names": np.array([b"."]), "tau": np.array([1.5])}
    weights = pa.RecordBatch.from_pydict({"/eligible.weight": pa.array([1.5, None])})
    assert TauSwitch(min_tau=2).columns(weights, {"size": size})["weight"].to_pylist() == [1.0, None]
    assert TauSwitch(min_tau=1).columns(weights, {"size": size})["weight"].to_pylist() == [1.5, None]


def test_nothing_to_choose_from() -> None:
    op = LossImportance(cap=90, keep_rows=3, min_tau=1.5)
    assert run(op, table([])).num_rows == 0
    assert run(op, table([None])).column("drop").to_pylist() == ["no_score"]
    lone = LossImportance(noise="accepted", keep_rows=3)
    assert run(lone, table([0.3])).to_pylist() == [{"drop": None, "weight": 1.0}]


def test_the_plan_says_what_guards() -> None:
    told = GradientImportance(cap=90, suspect="odd", keep_rows=1, smoothing=0.1).explain()
    for line in ("el2n + 0.1; weights to the power 1", "percentile 90", "where odd is true", "below 2"):
        assert line in told
    assert "beware, noise is accepted" in LossImportance(noise="accepted", keep_rows=1).explain()
    assert "max(loss - held, 0)" in LossImportance(reference="held", keep_rows=1).explain()
