"""BatchBALD against brute force over all configurations and all batches."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pyarrow as pa
import pytest
from choosing import ranked
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import World, run, run_shape

from gpu_ops.batch_bald import BatchBald
from gpu_ops.kernels.joint_information import greedy_batch, joint_information, none_yet
from gpu_ops.kernels.uncertainty import bald
from operators.kernels.counter import mix64


def passes_of(n: int, passes: int, classes: int, seed: int, sure: float = 0.5) -> np.ndarray:
    """(T, n, K)."""
    return np.random.default_rng(seed).dirichlet(np.full(classes, sure), (passes, n))


def table_of(p: np.ndarray, **columns: list) -> pa.Table:
    flat = p.transpose(1, 0, 2).reshape(p.shape[1], -1).astype(np.float32)
    return pa.table({"pass_probabilities": pa.array(list(flat), pa.list_(pa.float32())), **columns})


def by_hand(p: np.ndarray) -> float:
    """The joint mutual information in plain loops: H(y) - E_w H(y | w)."""
    passes, n, classes = p.shape
    together, known = 0.0, 0.0
    for labels in product(range(classes), repeat=n):
        each = [np.prod([p[t, row, one] for row, one in enumerate(labels)]) for t in range(passes)]
        mean = np.mean(each)
        together -= mean * np.log(mean) if mean > 0 else 0
        known -= np.mean([one * np.log(one) if one > 0 else 0 for one in each])
    return together - known


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(2, 5), st.integers(1, 3), st.integers(0, 10**6))
def test_the_joint_information_is_that_of_brute_force(b: int, passes: int, classes: int, seed: int) -> None:
    p = passes_of(b, passes, classes, seed)
    assert joint_information(p) == pytest.approx(by_hand(p), abs=1e-9)
    known, total = none_yet(passes), 0.0
    for row in range(b):
        total += known.gains(p[:, row][None])[0]
        known = known.with_row(p[:, row], 10**6, 0.5)
    assert known.exact
    assert total == pytest.approx(by_hand(p), abs=1e-9)
    assert known.weight.sum() == pytest.approx(1)


def test_three_classes_by_hand() -> None:
    """Two passes, (1/2, 1/4, 1/4) and (1/4, 1/4, 1/2): .0425 nats; a copy of the row adds less than a row
    that says the same in other labels adds to nothing."""
    p = np.array([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]])[:, None]
    own = -0.75 * np.log(3 / 8) + 0.25 * np.log(4) - 1.5 * np.log(2)
    assert joint_information(p) == pytest.approx(own, abs=1e-12)
    assert bald(np.log(p))[0] == pytest.approx(own, abs=1e-12)
    twice = joint_information(np.repeat(p, 2, axis=1))
    assert own < twice < 2 * own
    assert twice == pytest.approx(by_hand(np.repeat(p, 2, axis=1)), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 8), st.integers(2, 4), st.integers(2, 3), st.integers(0, 10**6))
def test_every_step_is_the_best_by_brute_force(n: int, passes: int, classes: int, seed: int) -> None:
    p = passes_of(n, passes, classes, seed).astype(np.float32)
    p /= p.sum(axis=2, keepdims=True)
    found = ranked(run(BatchBald(passes=passes, keep_rows=4, seed=seed), table_of(p)))
    wide = p.astype(np.float64)
    wide /= wide.sum(axis=2, keepdims=True)
    for size in range(1, len(found) + 1):
        rest = [row for row in range(n) if row not in found[: size - 1]]
        best = max(joint_information(wide[:, [*found[: size - 1], row]]) for row in rest)
        assert joint_information(wide[:, found[:size]]) == pytest.approx(best, abs=1e-6)


def test_it_is_at_least_1_minus_1_over_e_of_the_best_batch_and_better_than_bald() -> None:
    p = np.concatenate([passes_of(1, 6, 2, 0, 0.2).repeat(4, axis=1), passes_of(6, 6, 2, 1)], axis=1)
    found = ranked(run(BatchBald(passes=6, keep_rows=3, seed=1), table_of(p)))
    best = max(joint_information(p[:, list(some)]) for some in combinations(range(10), 3))
    assert joint_information(p[:, found]) >= (1 - 1 / np.e) * best
    alone = np.argsort(-bald(np.log(p)), kind="stable")[:3]
    assert joint_information(p[:, found]) > joint_information(p[:, alone])
    assert len(set(found) & {0, 1, 2, 3}) <= 2


def test_rows_that_are_not_looked_at_again_could_not_have_been_the_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    p = passes_of(300, 5, 3, 4)
    flat = p.transpose(1, 0, 2).reshape(300, 15).astype(np.float32)
    key, free = mix64(np.arange(300, dtype=np.uint64)), np.ones(300, bool)
    every = greedy_batch(flat, 5, 6, free, key, 3, 4096)
    monkeypatch.setattr("gpu_ops.kernels.joint_information._CELLS", 60)
    few = greedy_batch(flat, 5, 6, free, key, 3, 4096)
    assert few.index.tolist() == every.index.tolist()
    np.testing.assert_allclose(few.gain, every.gain, atol=2e-9)


def test_a_sample_of_configurations_is_near_to_all_of_them() -> None:
    p = passes_of(9, 8, 3, 7)
    errors = []
    for luck in np.linspace(0.05, 0.95, 10):
        known, total = none_yet(8), 0.0
        for row in range(9):
            total += known.gains(p[:, row][None])[0]
            known = known.with_row(p[:, row], 500, luck)
        assert not known.exact
        assert len(known.weight) <= 500
        errors.append(total - joint_information(p))
    assert abs(np.mean(errors)) < 0.01
    assert np.abs(errors).max() < 0.06  # of 1.9 nats
    assert joint_information(p) < np.log(8)


def test_it_tells_how_much_the_passes_had_to_say() -> None:
    p = passes_of(40, 4, 2, 3, 0.1)
    op = BatchBald(passes=4, keep_rows=20, configurations=64)
    world = World(table_of(p), 1000, None)
    run_shape(world, "face", op, world.batches(op), {})
    told = op.tell(world.artifacts["face"])
    assert "nats of at most 1.386 by the labels of 20 rows" in told
    assert "exact for the first 7" in told  # the seventh is compared over the 64 labels of six
    assert BatchBald(passes=4, keep_rows=0).tell({}) == "no row is chosen"
    over = {"information": np.array([[400, 6, 0.733, 3]])}  # what a sample of configurations came to
    assert "0.693 nats of at most 0.693" in BatchBald(passes=2, keep_rows=400).tell(over)


def test_rows_chosen_before_and_hostile_rows() -> None:
    p = passes_of(12, 3, 2, 5)
    odd = table_of(p).column(0).to_pylist()
    odd[2], odd[3], odd[4] = None, [0.0, 0.0, 0.5, 0.5, 0.5, 0.5], [-0.5, 1.5, 0.5, 0.5, 0.5, 0.5]
    mine = [True, True, *[None] * 10]
    table = pa.table({"pass_probabilities": pa.array(odd, pa.list_(pa.float32())), "mine": mine})
    found = run(BatchBald(passes=3, keep_rows=30, labelled="mine", seed=1), table)
    assert sorted(ranked(found)) == list(range(5, 12))
    assert found["drop"].to_pylist()[:5] == [None, None, *["not_comparable"] * 3]
    with pytest.raises(ValueError, match="6 numbers at uid 0, which are not 4 distributions"):
        run(BatchBald(passes=4, keep_rows=1), table)
    assert run(BatchBald(passes=4, keep_rows=1), table.slice(0, 0)).num_rows == 0
    assert ranked(run(BatchBald(passes=3, keep_rows=2), table.slice(5, 1))) == [0]


def test_the_order_and_the_cut_of_the_rows_do_not_matter() -> None:
    p = passes_of(60, 4, 3, 8).repeat(2, axis=1)  # copies: the earliest by key
    key = mix64(np.arange(120, dtype=np.uint64))
    op = BatchBald(passes=4, keep_rows=8, configurations=20, seed=3)
    one = ranked(run(op, table_of(p, key=key)))
    assert ranked(run(op, table_of(p, key=key), cut=[0, 3, 3, 50])) == one
    order = np.random.default_rng(0).permutation(120)
    assert order[ranked(run(op, table_of(p[:, order], key=key[order])))].tolist() == one
