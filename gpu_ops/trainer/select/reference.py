"""What losses are compared with: a frozen model from a folder, or an average of the trained weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from gpu_ops.kernels.causal_lm import load_network
from gpu_ops.trainer import network
from gpu_ops.trainer.classifier import Mlp, own_labels
from gpu_ops.trainer.config_select import ReducibleLossConfig, reference_folder
from gpu_ops.trainer.job import Job
from gpu_ops.trainer.select.selector import Arrays

_MARK = "reference."  # before the names of its weights in a checkpoint


class Reference:
    """network: in evaluation mode, without gradients. decay: the share of itself that an average keeps in
    every step, None for a frozen model."""

    def __init__(self, network: Any, decay: float | None) -> None:
        self.network, self.decay = network.eval().requires_grad_(False), decay

    @classmethod
    def of(cls, job: Job, trained: Any, device: str) -> Self | None:
        """What the run's selection asks for, if anything. ValueError for a model that does not score what the
        trained one learns."""
        folder = reference_folder(job.config.select)
        if folder is not None:
            return cls(_frozen(folder, job, trained).to(device), None)
        if isinstance(job.config.select, ReducibleLossConfig) and job.config.select.ema is not None:
            return cls(copy.deepcopy(trained), job.config.select.ema)
        return None

    @torch.no_grad()
    def follow(self, trained: Any) -> None:
        """After a step: average <- decay * average + (1 - decay) * weights."""
        if self.decay is not None:
            pairs = zip(self.network.parameters(), trained.parameters(), strict=True)
            mine, theirs = map(list, zip(*pairs, strict=True))
            torch._foreach_lerp_(mine, theirs, 1 - self.decay)

    def state(self) -> Arrays:
        """The average's weights; a frozen model has its folder."""
        if self.decay is None:
            return {}
        named: Mapping[str, torch.Tensor] = dict(self.network.named_parameters())
        return {f"{_MARK}{name}": one.cpu().numpy() for name, one in named.items()}

    @torch.no_grad()
    def restore(self, state: Arrays) -> None:
        if self.decay is not None:
            for name, one in self.network.named_parameters():
                one.copy_(torch.from_numpy(np.array(state[f"{_MARK}{name}"])))


def _frozen(folder: str, job: Job, trained: Any) -> Any:
    """The model of a folder, of the trained one's classes or tokens."""
    if isinstance(trained, Mlp):
        mlp = Mlp.load(Path(folder))
        _same(folder, "classes", mlp.classes, trained.classes)
        _same(folder, "numbers a vector", mlp.layers[0].in_features, trained.layers[0].in_features)
        return mlp
    if job.config.objective == "classification":
        _same(folder, "classes", own_labels(folder, job.classes), tuple(job.classes))
        config = job.config.model_copy(update={"init": folder, "model": None, "peft": None, "joint": ()})
        return network.build(config, job.vocab, job.seed, "cpu", job.classes)
    found = load_network(folder, "cpu", "float32")
    _same(folder, "tokens", *(one.config.get_text_config().vocab_size for one in (found, trained)))
    return found


def _same(folder: str, what: str, theirs: Any, ours: Any) -> None:
    if theirs != ours:
        raise ValueError(f"reference {folder!r} knows the {what} {theirs}, the trained model {ours}")
