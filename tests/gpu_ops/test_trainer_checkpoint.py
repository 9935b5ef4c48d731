"""Checkpoints: whole or not at all, on a full disk too; any optimizer's state comes back bit for bit."""

from __future__ import annotations

import resource

import numpy as np
import pytest
import torch

from gpu_ops.trainer import checkpoint, network
from gpu_ops.trainer.config_parts import LlamaShape

SHAPE = LlamaShape(hidden=16, layers=2, heads=2, kv_heads=1)
OPTIMIZERS = {
    "adamw": lambda ps: torch.optim.AdamW(ps, fused=True),
    "adafactor": torch.optim.Adafactor,
    "momentum": lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9),
    "plain": lambda ps: torch.optim.SGD(ps, lr=0.1),
}


def trained(make, steps: int = 3, unused: str = ""):
    """A model and its optimizer after a few steps; parameters with `unused` in their name get no gradient."""
    model = network.from_shape(SHAPE, 50, 16, seed=0)
    optimizer = make(model.parameters())
    for step in range(steps):
        one_step(model, optimizer, step, unused)
    return model, optimizer


def one_step(model, optimizer, step: int, unused: str = "") -> None:
    ids = (torch.arange(32).reshape(2, 16) * (step + 1)) % 50
    model(input_ids=ids, labels=ids).loss.backward()
    for name, parameter in model.named_parameters():
        if unused and unused in name:
            parameter.grad = None
    optimizer.step()
    optimizer.zero_grad()


def equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("unused", ["", "layers.1"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_goes_on_as_if_nothing_had_been(tmp_path, name, unused):
    model, optimizer = trained(OPTIMIZERS[name], unused=unused)
    checkpoint.save(tmp_path, 3, model, optimizer, {"a": [1]}, {"seen": np.arange(3)})
    other, fresh = trained(OPTIMIZERS[name], 0)
    rate = fresh.param_groups[0]["lr"]
    arrays = checkpoint.restore(tmp_path, other, fresh)
    assert checkpoint.read_state(tmp_path) == {"a": [1]}
    assert arrays["seen"].tolist() == [0, 1, 2]
    assert fresh.param_groups[0]["lr"] == rate
    for step in (3, 4):
        one_step(model, optimizer, step)
        one_step(other, fresh, step)
    assert equal(model, other)


def test_the_newest_stay_and_halves_go(tmp_path):
    model, optimizer = trained(OPTIMIZERS["adamw"], 1)
    for step in range(1, 5):
        checkpoint.save(tmp_path, step, model, optimizer, step, kept=2)
    for name in (".partial", ".removed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("")
    checkpoint.clean(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000003", "step-000000004"]
    assert checkpoint.read_state(tmp_path) == 4


@pytest.mark.parametrize("limit", [100, 4_000, 90_000])
def test_a_full_disk_leaves_the_one_before(tmp_path, limit):
    """No file may be longer than the limit: the system refuses to write, as on a full disk."""
    model, optimizer = trained(OPTIMIZERS["adamw"], 1)
    checkpoint.save(tmp_path, 1, model, optimizer, 1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert max(map(len, before.values())) > limit
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError, match=r"the checkpoint of step 2 could not be written .* is whole"):
            checkpoint.save(tmp_path, 2, model, optimizer, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]
    checkpoint.save(tmp_path, 2, model, optimizer, 2)
    assert checkpoint.read_state(tmp_path) == 2
