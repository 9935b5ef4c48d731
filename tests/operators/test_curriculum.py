"""Easy first, every text once, the same order for any cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run

from operators.curriculum import Curriculum
from operators.kernels.drawing import available_at
from operators.kernels.pacing import Pacing

RNG = np.random.default_rng(0)
LENGTHS = RNG.permutation(np.repeat(np.arange(1, 401), 5))
TABLE = pa.table(
    {"text": pa.array(["x" * n for n in LENGTHS], pa.large_string()), "loss": RNG.normal(size=2000)}
)


def orders(fields: dict[str, Any], **how: Any) -> np.ndarray:
    return run(Curriculum(seed=2, **fields), TABLE, **how).column("order").to_numpy()


def test_sort_is_a_sort_by_length() -> None:
    got = orders({"pacing": "sort"})
    np.testing.assert_array_equal(LENGTHS[np.argsort(got, kind="stable")], np.sort(LENGTHS))


@pytest.mark.parametrize("pacing", ["linear", "root", "competence", "baby_steps", "step"])
@pytest.mark.parametrize("difficulty", ["length", "loss"])
def test_the_first_texts_are_among_the_easiest(pacing: str, difficulty: str) -> None:
    shape = {"start": 0.1, "steps": 20} if pacing in ("step", "baby_steps") else {"start": 0.1}
    fields = {"pacing": pacing, **shape, "difficulty": difficulty}
    order = np.argsort(orders(fields))
    assert sorted(order.tolist()) == list(range(2000))
    values = LENGTHS if difficulty == "length" else TABLE.column("loss").to_numpy()
    easy = values.argsort(kind="stable").argsort() / 2000
    drawn = (np.arange(2000) + 1) / 2000
    late = available_at(easy[order], Pacing.model_validate({"kind": pacing, **shape}).line()) - drawn
    assert late.max() < 0.05  # the nth draw happens at about n / N
    hard = easy[order].reshape(4, -1).mean(axis=1)
    assert (np.diff(hard) > 0).all()


def test_all_available_is_a_shuffle() -> None:
    easy = LENGTHS[np.argsort(orders({"pacing": "root", "start": 1.0}))]
    assert abs(np.corrcoef(easy, np.arange(2000))[0, 1]) < 0.1


def test_descending_starts_at_the_other_end() -> None:
    got = LENGTHS[np.argsort(orders({"pacing": "linear", "descending": True}))]
    assert got[:100].min() > 300
    assert got[-100:].max() < 100


@settings(deadline=None, max_examples=8)
@given(
    st.sets(st.integers(0, 2000), max_size=12),
    st.sampled_from(["linear", "root", "sort"]),
    st.sampled_from(["percentile", "value"]),
)
def test_the_same_order_for_any_cut(cut: set[int], pacing: str, by: str) -> None:
    fields = {"pacing": pacing, "by": by}
    np.testing.assert_array_equal(orders(fields, cut=sorted(cut)), orders(fields))


def test_the_seed_matters_but_to_sort() -> None:
    other = run(Curriculum(seed=3), TABLE).column("order").to_numpy()
    assert (other != orders({})).mean() > 0.99
    assert len(set(orders({}).tolist())) == 2000


@pytest.mark.parametrize(
    "fields", [{"start": 0.0}, {"start": 1.5}, {"power": 0.5}, {"pacing": "cubic"}, {"over": 0}]
)
def test_pacing_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        Curriculum(**fields)


def test_a_pacing_that_one_pass_cannot_follow_is_refused() -> None:
    with pytest.raises(ValueError, match="`pacing: sort` and give this pacing to the trainer"):
        Curriculum(pacing="exponential")
    with pytest.raises(ValueError, match="does not read stages"):
        Curriculum(stages=((1.0, 1.0),))
    assert Curriculum(pacing="exponential", by="value").parts()


@pytest.mark.parametrize("pacing", ["competence", "linear", "sort"])
def test_texts_that_are_left_out_move_nobody(pacing: str) -> None:
    """A skip list takes texts out of the order; the others keep their places, whoever computes them."""
    fields = {"pacing": pacing, "difficulty": "loss"}
    whole = run(Curriculum(seed=2, **fields), TABLE, batch_rows=7).column("order").to_numpy()
    order = np.argsort(whole, kind="stable")
    skipped = np.random.default_rng(1).random(2000) < 0.1
    np.testing.assert_array_equal(
        order[~skipped[order]], np.flatnonzero(~skipped)[np.argsort(whole[~skipped], kind="stable")]
    )
