"""What a step costs in floating-point operations, whatever part of the model it trains."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

LENGTHS = (8, 16, 24)  # three points of what is a square function of the length


@dataclass(frozen=True)
class Cost:
    """Operations of one row of T tokens as a + b T + c T^2 (attention is the square): coefficients of the
    forward pass, and of forward and backward together."""

    forward: tuple[float, float, float]
    training: tuple[float, float, float]

    def of_row(self, seq_len: int) -> float:
        """To train on a row."""
        return _at(self.training, seq_len)

    def of_looking(self, seq_len: int) -> float:
        """To look at a row without learning from it."""
        return _at(self.forward, seq_len)


def cost(network: Any) -> Cost | None:
    """Counts the matrix products of a copy of the network without values (torch's meta device), so that it
    costs no memory and no arithmetic, and what is frozen, adapted or computed twice (activation
    checkpointing) counts as torch would do it: the weights' gradients only of what is trained, the
    activations' gradients down to the lowest of that. Attention is full, not causal, as in PaLM's appendix B.
    None for models that cannot be run without values: those with choices that depend on them."""
    try:
        ghost = _without_values(network)
        points = [_count(ghost, length) for length in LENGTHS]
    except (NotImplementedError, RuntimeError, ValueError):
        return None
    forward, training = (np.polyfit(LENGTHS, values, 2)[::-1] for values in zip(*points, strict=True))
    return Cost(_three(forward), _three(training))


def _without_values(network: Any) -> Any:
    """A copy whose weights have shapes only; the network itself stays as it is."""
    memo: dict[int, Any] = {}
    for parameter in network.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
    for buffer in network.buffers():
        memo[id(buffer)] = buffer.to("meta")
    ghost = copy.deepcopy(network, memo).train(network.training)
    inner = ghost.get_base_model() if hasattr(ghost, "get_base_model") else ghost
    inner.set_attn_implementation("eager")  # fused attention is not counted everywhere
    return ghost


def _count(ghost: Any, length: int) -> tuple[int, int]:
    """(forward, forward and backward) of one row."""
    ids = torch.zeros((1, length), dtype=torch.int64, device="meta")
    with FlopCounterMode(display=False) as counter:
        # With a mask transformers does not look for packed sequences among positions, which have no values.
        logits = ghost(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
        forward = counter.get_total_flops()
        logits.sum().backward()
        return forward, counter.get_total_flops()


def _at(coefficients: tuple[float, float, float], seq_len: int) -> float:
    constant, linear, square = coefficients
    return constant + linear * seq_len + square * seq_len**2


def _three(values: Any) -> tuple[float, float, float]:
    a, b, c = (float(value) for value in values)
    return a, b, c
