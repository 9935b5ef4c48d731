"""What turns gradients into steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gpu_ops.trainer.config import TrainConfig


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101), or torch's Adafactor (Shazeer &
    Stern 2018, https://arxiv.org/abs/1804.04235) without momentum, whose state is a row and a column of
    every matrix instead of two copies of it. Adafactor's steps are `lr` times the root mean square of the
    weights, and at most that over the root of their number.

    ValueError when nothing is to be trained."""
    groups = [group for group in decay_groups(model, config) if group["params"]]
    if not groups:
        raise ValueError("no weight of the model is trained; see `trainable` and `peft`")
    if config.optimizer == "adafactor":
        return torch.optim.Adafactor(groups, lr=config.lr)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


def decay_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """The trained weights that decay, and those that do not: norms and biases, in whatever form a layer
    keeps them, and with `decay_embeddings: false` what is looked up (also where the output layer is tied
    to it)."""
    looked_up = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    kept = set() if config.decay_embeddings else looked_up
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decaying = [p for p in weights if p.ndim >= 2 and id(p) not in kept]
    known = {id(p) for p in decaying}
    return [
        {"params": decaying, "weight_decay": config.weight_decay},
        {"params": [p for p in weights if id(p) not in known], "weight_decay": 0.0},
    ]
