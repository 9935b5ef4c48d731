"""Optimizers and learning rates of the trainer, beside torch's and transformers' own."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainingArguments,
    get_cosine_with_min_lr_schedule_with_warmup,
    get_linear_schedule_with_warmup,
    get_wsd_schedule,
)

from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.optim import decay_groups, make_optimizer
from gpu_ops.trainer.schedule import learning_rate


def config(**fields) -> TrainConfig:
    return TrainConfig(**{"init": "x", "tokens": 1, "lr": 0.01, **fields})


def gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=30, n_embd=8, n_layer=2, n_head=2, n_positions=16))


def test_the_groups_are_those_of_transformers(tmp_path):
    model = gpt2()
    trainer = Trainer(model, TrainingArguments(str(tmp_path), use_cpu=True, report_to="none"))
    want = set(trainer.get_decay_parameter_names(model)) - {"lm_head.weight"}  # tied, under its other name
    decaying, others = decay_groups(model, config())
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)] for p in decaying["params"]} == want
    assert len(decaying["params"]) + len(others["params"]) == len(names)


def test_embeddings_may_be_left_out_and_a_tied_head_with_them():
    model = gpt2()
    decaying, others = decay_groups(model, config(decay_embeddings=False))
    kept = {id(p) for p in others["params"]}
    assert {id(model.transformer.wte.weight), id(model.transformer.wpe.weight)} <= kept
    assert id(model.transformer.h[0].attn.c_attn.weight) not in kept
    assert len(decaying["params"]) == 2 * 4


def test_what_is_frozen_is_not_optimised():
    model = gpt2()
    model.transformer.requires_grad_(False)
    with pytest.raises(ValueError, match="no weight of the model is trained"):
        make_optimizer(model, config())


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_steps_are_those_of_torch(name):
    ours, theirs = gpt2(), gpt2()
    optimizer = make_optimizer(ours, config(optimizer=name, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.0))
    reference = {
        "adamw": lambda w: torch.optim.AdamW(w, lr=0.01, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.0),
        "adafactor": lambda w: torch.optim.Adafactor(w, lr=0.01, weight_decay=0.0),
    }[name](theirs.parameters())
    ids = torch.arange(24).reshape(2, 12) % 30
    for _ in range(3):
        for model, step in ((ours, optimizer), (theirs, reference)):
            model.eval()(input_ids=ids, labels=ids).loss.backward()
            step.step()
            step.zero_grad()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def theirs(make) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    scheduler = make(optimizer)
    rates = []
    for _ in range(100):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("fields", "make"),
    [
        (
            {"schedule": "cosine", "lr_end": 0.1},
            lambda o: get_cosine_with_min_lr_schedule_with_warmup(o, 10, 100, min_lr_rate=0.1),
        ),
        ({"schedule": "linear", "lr_end": 0.0}, lambda o: get_linear_schedule_with_warmup(o, 10, 100)),
        (
            {"schedule": "wsd", "lr_end": 0.1},
            lambda o: get_wsd_schedule(o, 10, 20, 100, decay_type="linear", min_lr_ratio=0.1),
        ),
    ],
)
def test_rates_are_those_of_transformers_after_a_warm_up_that_already_moves(fields, make):
    """Ours is one step ahead in the warm-up: transformers wastes step 0 with a rate of 0."""
    ours = [learning_rate(step, 100, config(warmup=0.1, **fields)) for step in range(100)]
    want = theirs(make)
    assert ours[10:] == pytest.approx(want[10:])
    if fields["schedule"] != "wsd":  # there transformers' warm-up begins at the smallest rate
        assert ours[:9] == pytest.approx(want[1:10])


def test_a_constant_rate_stays():
    rates = [learning_rate(step, 50, config(schedule="constant", warmup=0.1)) for step in range(50)]
    assert rates[5:] == [0.01] * 45
