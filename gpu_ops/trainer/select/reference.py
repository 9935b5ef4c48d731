"""What losses are compared with: a frozen model from a folder, or an average of the trained weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch

from gpu_ops.kernels.causal_lm import load_network
from gpu_ops.trainer.config_select import ReducibleLossConfig, SelectConfig, reference_folder
from gpu_ops.trainer.select.selector import Arrays

_MARK = "reference."  # before the names of its weights in a checkpoint


class Reference:
    """network: in evaluation mode, without gradients. decay: the share of itself that an average keeps in
    every step, None for a frozen model."""

    def __init__(self, network: Any, decay: float | None) -> None:
        self.network, self.decay = network.eval().requires_grad_(False), decay

    @classmethod
    def of(cls, select: SelectConfig | None, network: Any, device: str) -> Self | None:
        """What the selection asks for. ValueError for a model that gives other scores than the trained
        one."""
        folder = reference_folder(select)
        if folder is not None:
            found = load_network(folder, device, "float32")
            theirs, ours = (one.config.get_text_config().vocab_size for one in (found, network))
            if theirs != ours:
                raise ValueError(f"reference {folder!r} knows {theirs} tokens, the trained model {ours}")
            return cls(found, None)
        if isinstance(select, ReducibleLossConfig) and select.ema is not None:
            return cls(copy.deepcopy(network), select.ema)
        return None

    @torch.no_grad()
    def follow(self, network: Any) -> None:
        """After a step: average <- decay * average + (1 - decay) * weights."""
        if self.decay is not None:
            pairs = zip(self.network.parameters(), network.parameters(), strict=True)
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
