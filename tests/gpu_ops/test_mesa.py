"""MESA: its draws against the formula, its areas against scikit-learn, its columns by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from class_clouds import data_of, table_batches, table_of
from memory_engine import run
from sklearn.metrics import average_precision_score

from gpu_ops.kernels.cascade import Cascade, Task, race
from gpu_ops.mesa import Mesa
from operators.kernels.counter import mix64

SIZES = (300, 30)


def task_of(seed: int, sigma: float = 0.2) -> Task:
    x, label = data_of(1, SIZES)
    every = np.arange(len(x))
    judges, train = every[::4], np.setdiff1d(every, every[::4])
    rare, common = (train[label[train] == one] for one in (1, 0))
    return Task(x.astype(np.float32), label == 1, rare, common, judges, mix64(every.astype(np.uint64)),
                sigma, None, seed)  # fmt: skip


def test_draws_follow_the_weights_of_the_paper() -> None:
    """Over many seeds, how often a row is drawn first goes with exp(-((e - mu) / sigma)^2 / 2)."""
    errors = np.linspace(0, 1, 5)
    times = np.zeros(5)
    for seed in range(600):
        x = np.zeros((6, 1), np.float32)
        key = mix64(np.arange(6).astype(np.uint64))
        one = Task(x, np.arange(6) == 5, np.array([5]), np.arange(5), np.arange(6), key, 0.5, None, seed * 77)
        cascade = Cascade(0.75, np.append(errors, 1.0), np.zeros(6, np.int64), learners=1)
        cascade.grow(one)
        times += cascade.times[:5]
    expected = np.exp(-(((errors - 0.75) / 0.5) ** 2) / 2)
    expected /= expected.sum()
    assert (np.abs(times / 600 - expected) < 4 * np.sqrt(expected * (1 - expected) / 600)).all()


def test_subsets_are_balanced_and_areas_are_scikit_learns() -> None:
    task = task_of(3)
    cascade = Cascade(0.5, np.zeros(len(task.x)), np.zeros(len(task.x), np.int64))
    for number in range(1, 6):
        before = cascade.times.copy()
        cascade.grow(task)
        drawn = cascade.times - before
        assert drawn[task.rare].all()
        assert drawn[task.common].sum() == len(task.rare)
        assert drawn[task.judges].sum() == 0
        judged = cascade.total[task.judges] / number
        assert cascade.course[-1] == pytest.approx(
            average_precision_score(task.positive[task.judges], judged)
        )


@pytest.mark.parametrize(("learners", "fits"), [(10, 32), (20, 42), (3, 15)])
def test_the_race_spends_few_fits(learners: int, fits: int) -> None:
    raced = race(task_of(1), (0.0, 0.25, 0.5, 0.75, 1.0), learners)
    assert sum(one.learners for one in raced) == fits
    assert raced[0].learners == learners
    assert raced[0].course[-1] >= max(one.course[-1] for one in raced if one.learners == learners)


def test_columns() -> None:
    x, label = data_of(1, SIZES)
    validation = np.arange(len(x)) % 4 == 0
    unknown = np.arange(len(x)) >= 320
    table = table_of(x, pa.array(label, mask=unknown), valid=validation)
    op = Mesa(seed=3, validation="valid", learners=5)
    found = run(op, table)
    p, weight = (found[name].to_numpy(zero_copy_only=False) for name in ("probability", "weight"))
    assert not np.isnan(p).any()
    assert (np.isnan(weight) == (validation | unknown)).all()
    assert (weight[(label == 1) & ~validation & ~unknown] == 5).all()
    hardness = found["hardness"].to_numpy(zero_copy_only=False)
    np.testing.assert_allclose(hardness, np.where(unknown, np.nan, np.abs(p - label)))
    gone = found["drop"].combine_chunks().is_valid().to_numpy(zero_copy_only=False)
    assert (gone == (weight == 0)).all()
    assert 0 < gone.sum() < 300
    state = op.fit(iter(table_batches(table)), "cpu", {})
    judges = validation & ~unknown
    assert state["area"][0] == pytest.approx(average_precision_score(label[judges], p[judges]))
    told = op.tell(state).splitlines()
    assert told[0] == "rare class: '1'; 22 trees were fitted"
    assert told[1].endswith("with 5 trees, chosen")


def test_the_rare_class_may_be_named() -> None:
    x, label = data_of(1, (40, 40, 9))
    names = np.array(["a", "b", "c"])[label]
    state = Mesa(seed=1).fit(iter(table_batches(table_of(x, names))), "cpu", {})
    assert state["rare"][0] == b"c."
    state = Mesa(seed=1, positive="a").fit(iter(table_batches(table_of(x, names))), "cpu", {})
    assert state["rare"][0] == b"a."


@pytest.mark.parametrize("cut", [[1], [0, 0, 3, 7, 7]])
def test_any_cut_gives_the_same(cut: list[int]) -> None:
    table = table_of(*data_of(3))
    assert run(Mesa(seed=1, mark=True), table, cut=cut).equals(run(Mesa(seed=1, mark=True), table))


def test_nothing_to_learn_from() -> None:
    tables: list[Any] = [
        table_of(np.zeros((0, 2)), pa.array([], pa.int64())),
        table_of(np.zeros((1, 2)), [4]),
        table_of(np.zeros((3, 2)), pa.array([None, None, None], pa.int64())),
        pa.table({"embedding": pa.array([None, None], pa.list_(pa.float64())), "label": [0, 1]}),
    ]
    for table in tables:
        found = run(Mesa(seed=1), table)
        assert found["drop"].null_count == found["probability"].null_count == table.num_rows
        state = Mesa(seed=1).fit(iter(table_batches(table)), "cpu", {})
        assert "nothing was learned" in Mesa().tell(state)


def test_a_class_that_no_row_has_is_told() -> None:
    op = Mesa(positive="rere", seed=1)
    state = op.fit(iter(table_batches(table_of(np.zeros((4, 2)), ["a", "a", "rare", "rare"]))), "cpu", {})
    assert "'rere' and another: nothing was learned" in op.tell(state)
