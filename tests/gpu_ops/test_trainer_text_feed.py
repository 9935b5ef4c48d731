"""Sequences of documents: packed with boundaries kept, and easy ones first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import GPT2Config, GPT2LMHeadModel

from gpu_ops.trainer import network
from gpu_ops.trainer.batch import IGNORED, Batch
from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.config_parts import LlamaShape
from gpu_ops.trainer.feeds import make_feed, make_schedule
from gpu_ops.trainer.job import Job
from gpu_ops.trainer.objective import CausalLmObjective

torch.set_num_threads(1)
LENGTHS = [3, 9, 5, 16, 4, 7, 12, 2, 6, 20]
SHAPE = LlamaShape(hidden=16, layers=2, heads=2)


def config(**fields) -> TrainConfig:
    start = {"model": SHAPE, "tokenizer": "x", "tokens": 640, "seq_len": 16, "batch_size": 4}
    return TrainConfig(**{**start, **fields})


def tokens(folder: Path, lengths=LENGTHS) -> str:
    """Documents of these lengths; no two have a token in common."""
    np.arange(1, sum(lengths) + 1, dtype=np.int32).tofile(folder / "t.ids")
    np.save(folder / "t.ends.npy", np.cumsum(lengths))
    return str(folder / "t")


def feed(folder: Path, seed=0, shuffle=False, **fields):
    settings = config(**fields)
    job = Job("a", seed, settings, tokens(folder), "", shuffle, 0, "", False, "")
    return make_feed(job)


def models():
    torch.manual_seed(0)
    shape = GPT2Config(vocab_size=100, n_embd=16, n_layer=2, n_head=2, n_positions=32)
    shape.resid_pdrop = shape.embd_pdrop = shape.attn_pdrop = 0.0
    return [network.from_shape(SHAPE, 100, 32, seed=0), GPT2LMHeadModel(shape)]


# Packing


@pytest.mark.parametrize("packing", ["concatenate", "best_fit"])
def test_every_token_is_read_once_an_epoch_and_predicts_within_its_document(tmp_path, packing):
    data = feed(tmp_path, packing=packing, boundaries="keep")
    whole = data.batch(0, data.size, 16)
    real = np.arange(16) < whole.lengths[:, None]
    assert sorted(whole.inputs[real].tolist()) == list(range(1, sum(LENGTHS) + 1))
    ends = set(np.cumsum(LENGTHS).tolist())
    known = whole.targets != IGNORED
    assert np.all(whole.targets[known] == whole.inputs[known] + 1)
    assert set(whole.inputs[real & ~known].tolist()) == ends
    assert data.corpus_tokens == sum(LENGTHS)


def test_a_shuffled_epoch_is_a_permutation_of_sequences(tmp_path):
    data = feed(tmp_path, shuffle=True, packing="best_fit")
    epochs = [data.batch(data.size * k, data.size, 16).rows.tolist() for k in range(3)]
    assert all(sorted(epoch) == list(range(data.size)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    fresh = feed(tmp_path, shuffle=True, packing="best_fit")
    assert fresh.batch(data.size + 2, 3, 16).rows.tolist() == (epochs[1] + epochs[2])[2:5]


@pytest.mark.parametrize("model", models(), ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("packing", ["concatenate", "best_fit"])
@torch.no_grad()
def test_packed_documents_lose_as_much_as_alone(tmp_path, model, packing):
    """Every piece of a document by itself, beside all of them packed."""
    data = feed(tmp_path, packing=packing, boundaries="keep")
    whole = data.batch(0, data.size, 16)
    objective = CausalLmObjective()
    got = float(objective.logits(model.eval(), whole, "cpu").losses().sum())
    want = 0.0
    for inputs, targets, positions, length in zip(
        whole.inputs, whole.targets, whole.positions, whole.lengths, strict=True
    ):
        for piece in np.split(np.arange(length), np.flatnonzero(positions[:length] == 0)[1:]):
            alone = Batch(inputs[None, piece], targets[None, piece], np.zeros(1, np.int64))
            want += float(objective.logits(model, alone, "cpu").losses().sum())
    assert got == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("model", models(), ids=lambda model: type(model).__name__)
def test_the_gradient_of_a_document_does_not_depend_on_its_neighbours(tmp_path, model):
    data = feed(tmp_path, packing="best_fit", boundaries="keep")
    whole = data.batch(0, data.size, 16)
    row = int(
        np.argmax([(p[: int(n)] == 0).sum() for p, n in zip(whole.positions, whole.lengths, strict=True)])
    )
    one = whole.take(np.array([row]))
    second = np.flatnonzero(one.positions[0] == 0)[1]
    targets = one.targets.copy()
    targets[:, :second] = IGNORED  # learn from what comes after the first document only
    found = []
    for shift in (0, 40):
        inputs = one.inputs.copy()
        inputs[:, :second] += shift
        batch = Batch(inputs % 100, targets, one.rows, one.lengths, one.positions)
        model.zero_grad()
        CausalLmObjective().logits(model.eval(), batch, "cpu").losses().sum().backward()
        found.append([p.grad.clone() for p in model.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
def test_a_prompt_does_not_keep_boundaries_and_is_refused():
    fields = config(boundaries="keep", peft={"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 2})
    with pytest.raises(ValueError, match="boundaries: keep, but a prompt"):
        network.build(fields, 100, 0, "cpu")


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ValidationError, match="packed sequences have one length"):
        config(packing="best_fit", seq_len_warmup={"start": 8})
    with pytest.raises(ValidationError, match="lies above the end, 1"):
        config(pacing={"kind": "linear", "start": 2})
    with pytest.raises(ValidationError, match="pacing draws whole rows"):
        config(pacing="root", seq_len_warmup={"start": 8, "truncate": True})


# Pacing


@pytest.mark.parametrize("fields", [{}, {"packing": "best_fit"}])
def test_rows_come_from_the_share_that_is_open(tmp_path, fields):
    data = feed(tmp_path, pacing={"kind": "exponential", "start": 0.2}, tokens=6400, **fields)
    plan = make_schedule(config(tokens=6400), data)
    count = data.feed.blocks(16)
    for number in range(plan.steps):
        batch = data.batch(*plan.place(number))
        share = 0.2 * 5 ** (number / plan.steps)
        assert batch.rows.max() < np.ceil(share * count)
        again = feed(tmp_path, pacing={"kind": "exponential", "start": 0.2}, tokens=6400, **fields)
        assert np.array_equal(again.batch(*plan.place(number)).inputs, batch.inputs)


def test_draws_are_uniform_within_the_share(tmp_path):
    data = feed(tmp_path, pacing={"kind": "baby_steps", "steps": 2}, tokens=64_000)
    plan = make_schedule(config(tokens=64_000), data)
    half = plan.steps // 2
    early = np.concatenate([data.batch(*plan.place(n)).rows for n in range(half)])
    late = np.concatenate([data.batch(*plan.place(n)).rows for n in range(half, plan.steps)])
    blocks = data.feed.blocks(16)
    for rows, known in ((early, -(-blocks // 2)), (late, blocks)):
        counts = np.bincount(rows, minlength=known)
        assert len(counts) == known
        expected = len(rows) / known
        assert np.sum((counts - expected) ** 2 / expected) < 3 * known + 10  # chi square


def test_another_seed_draws_others_and_a_shuffled_epoch_is_the_control(tmp_path):
    fields = {"pacing": {"kind": "root", "start": 0.3}}
    one, two = (feed(tmp_path, seed=seed, **fields).batch(0, 8, 16).rows.tolist() for seed in (0, 1))
    assert one != two
    control = feed(tmp_path, shuffle=True, **fields).batch(0, 8, 16)
    assert control.rows.tolist() == one  # the same numbers, of another epoch
    assert not np.array_equal(control.inputs, feed(tmp_path, **fields).batch(0, 8, 16).inputs)


def test_less_than_a_sequence_is_too_little(tmp_path):
    job = Job("a", 0, config(pacing="root"), tokens(tmp_path, [3, 4]), "", False, 0, "", False, "")
    data = make_feed(job)
    with pytest.raises(ValueError, match="7 tokens are less than a sequence of 16"):
        data.batch(0, 2, 16)
