"""Steps whose batches grow and whose rows lengthen: equal tokens, each of them once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.ramps import LengthRamp, Ramp, sizes
from gpu_ops.trainer.schedule import Schedule, learning_rate
from gpu_ops.trainer.stream import Stream
from gpu_ops.trainer.text_feed import Truncated


def schedule(**fields) -> Schedule:
    start = {"init": "x", "tokens": 10_000, "seq_len": 64, "batch_size": 8}
    return Schedule.of(TrainConfig(**{**start, **fields}))


WARMUP = {"start": 16, "over": 0.6, "multiple": 8}
RAMP = {"start": 2, "over": 0.2}


def slowly(tokens, rows, seq_len, batch_ramp, warmup):
    """Step by step, as one would write it down."""
    found, done = [], 0
    while done < tokens:
        now = rows if batch_ramp is None else int(batch_ramp.lengths(done, tokens, rows, batch_ramp.multiple))
        length = seq_len if warmup is None else int(warmup.lengths(done, tokens, seq_len, warmup.multiple))
        now = min(now, -(-(tokens - done) // length))
        found.append((now, length))
        done += now * length
    return found


@given(
    tokens=st.integers(1, 3000),
    rows=st.integers(2, 9),
    seq_len=st.integers(8, 40),
    ramp=st.none() | st.builds(Ramp, start=st.integers(1, 2), over=st.sampled_from([0.1, 0.5, 1.0])),
    warmup=st.none()
    | st.builds(
        LengthRamp,
        kind=st.sampled_from(["linear", "root", "step", "baby_steps"]),
        start=st.just(8),
        steps=st.just(8),
        multiple=st.integers(1, 8),
        over=st.sampled_from([0.3, 1.0]),
    ),
)
def test_sizes_are_those_of_a_loop_over_steps(tokens, rows, seq_len, ramp, warmup):
    if warmup is not None and warmup.kind == "baby_steps":
        seq_len = seq_len // 8 * 8
    got = list(zip(*(part.tolist() for part in sizes(tokens, rows, seq_len, ramp, warmup)), strict=True))
    assert got == slowly(tokens, rows, seq_len, ramp, warmup)


def test_lengths_grow_from_the_start_to_the_end_and_tokens_are_equal():
    plan = schedule(seq_len_warmup=WARMUP, batch_ramp=RAMP)
    assert (plan.seq_len[0], plan.rows[0], plan.seq_len[-1]) == (16, 2, 64)
    assert np.all(np.diff(plan.seq_len) >= 0)
    assert set(plan.seq_len.tolist()) <= {16, 24, 32, 40, 48, 56, 64}
    assert plan.rows[:-1].max() == 8
    assert 10_000 <= plan.tokens_after(plan.steps) < 10_000 + 64
    reached = plan.tokens_after(int(np.argmax(plan.seq_len == 64)))
    assert 6000 <= reached < 6000 + 8 * 64
    assert plan.steps > schedule().steps


def test_stages_are_shortformers():
    plan = schedule(seq_len_warmup={"kind": "stages", "stages": [[16, 0.5], [64, 1.0]]})
    assert set(plan.seq_len.tolist()) == {16, 64}
    assert plan.tokens_after(int(np.argmax(plan.seq_len == 64))) == pytest.approx(5000, abs=8 * 16)


@pytest.mark.parametrize("fields", [{}, {"batch_ramp": RAMP}, {"seq_len_warmup": WARMUP}])
def test_no_token_is_lost_or_seen_twice(tmp_path, fields):
    tokens = np.arange(12_000, dtype=np.int32)
    tokens.tofile(tmp_path / "t.ids")
    np.save(tmp_path / "t.ends.npy", np.array([5, 700, 12_000]))
    stream, plan = Stream(str(tmp_path / "t"), 0, False), schedule(**fields)
    batches = [stream.batch(*plan.place(number)) for number in range(plan.steps)]
    seen = np.concatenate([batch.inputs.ravel() for batch in batches])
    assert seen.tolist() == list(range(plan.tokens_after(plan.steps)))
    assert plan.end == len(seen)


def test_truncated_rows_are_the_beginnings_of_full_ones(tmp_path: Path):
    np.arange(100_000, dtype=np.int32).tofile(tmp_path / "t.ids")
    np.save(tmp_path / "t.ends.npy", np.array([100_000]))
    stream = Truncated(Stream(str(tmp_path / "t"), 0, False), 64)
    plan = schedule(seq_len_warmup={**WARMUP, "truncate": True})
    first, second = (stream.batch(*plan.place(number)) for number in range(2))
    assert first.inputs[:, 0].tolist() == [64 * row for row in range(8)]
    assert first.inputs.shape == (8, 16)
    assert second.inputs[0, 0] == 8 * 64
    assert plan.end > plan.tokens_after(plan.steps)


def test_steps_that_are_alike_are_as_before():
    plan = schedule()
    assert (plan.steps, plan.tokens_after(plan.steps)) == (20, 20 * 8 * 64)
    assert [plan.position(step) for step in range(20)] == list(range(20))
    assert plan.eval_steps(4) == [5, 10, 15, 20]
    assert plan.eval_steps(3) == [7, 14, 20]


def test_rates_and_evaluations_follow_the_tokens():
    config = TrainConfig(init="x", tokens=10_000, seq_len=64, batch_size=8, lr=1.0, warmup=0.0)
    ramped, plain = schedule(seq_len_warmup=WARMUP), schedule()
    for plan in (ramped, plain):
        shares = [plan.tokens_after(step) / plan.tokens_after(plan.steps) for step in range(1, plan.steps)]
        rates = [learning_rate(plan.position(step), plan.steps, config) for step in range(1, plan.steps)]
        want = 0.1 + 0.9 * (1 + np.cos(np.pi * np.array(shares))) / 2
        assert rates == pytest.approx(want, abs=0.05)
    points = [[plan.tokens_after(step) for step in plan.eval_steps(4)] for plan in (ramped, plain)]
    assert points[0] == pytest.approx(points[1], abs=8 * 64)


def test_ramps_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"seq_len_warmup: start = 128 lies above the end, 64"):
        schedule(seq_len_warmup={"start": 128})
    with pytest.raises(ValueError, match="batch_ramp: a sequence cannot begin with 0"):
        schedule(batch_ramp={"start": 0.5})
