"""Gradient norms of many documents' losses: packs of like length through the last layer or the whole model.

Legend: n documents, S sequences of a pack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt
import torch

from gpu_ops.kernels.causal_lm import FALLBACK_LOGITS, CausalLm
from gpu_ops.kernels.ghost_norms import ghost_norms
from gpu_ops.kernels.last_layer_norm import last_layer_norms
from gpu_ops.kernels.packing import for_packs
from gpu_ops.kernels.token_stats import Pack, hidden_states
from gpu_ops.kernels.tokens import windows

CPU_BUDGET = 2048  # tokens of a backward pass, where memory that runs out is no error but the end

Norms = Callable[[CausalLm, Sequence[np.ndarray]], torch.Tensor]


@dataclass(frozen=True)
class SequenceNorms:
    """Of n documents, (n,) each: tokens that are scored, int64, and float64, 0 where there are none, the mean
    loss over them (nats) and its gradient's norm."""

    tokens: npt.NDArray[np.int64]
    losses: npt.NDArray[np.float64]
    norms: npt.NDArray[np.float64]


def with_head(lm: CausalLm, name: str) -> CausalLm:
    """The model, ready for last_layer. ValueError where its last layer is none that is known."""
    if lm.head is None:
        raise ValueError(
            f"{name}: its logits are no plain function of its last hidden states and one weight, so its last "
            "layer has no norm here; take `kind: full`"
        )
    return lm


def with_gradients(lm: CausalLm, patterns: Sequence[str] | None) -> CausalLm:
    """The model, ready for `full` by the parameters whose names fit one of the patterns (None: by all).

    ValueError for a pattern that fits none."""
    names = [name for name, _ in lm.model.named_parameters()]
    for pattern in patterns or ():
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(
                f"`parameters` holds {pattern!r}, which fits none of the model's, such as "
                f"{', '.join(names[:3])} and {names[-1]}"
            )
    for name, parameter in lm.model.named_parameters():
        parameter.requires_grad_(patterns is None or any(fnmatchcase(name, p) for p in patterns))
    vocabulary = lm.model.config.get_text_config().vocab_size
    limit = FALLBACK_LOGITS // vocabulary if lm.device.startswith("cuda") else CPU_BUDGET
    return replace(lm, budget=min(lm.budget, limit))


def sequence_norms(lm: CausalLm, documents: Sequence[np.ndarray], norms: Norms) -> SequenceNorms:
    """The gradient norms of each document's loss in its first window.

    Documents of like length share a pass of at most `lm.budget` tokens. Running out of memory
    halves that; MemoryError when one document alone does not fit."""
    firsts = [windows(ids, lm.bos, lm.window)[:1] for ids in documents]
    there = np.flatnonzero([len(first) for first in firsts])
    pieces = [piece for first in firsts for piece in first]
    tokens = np.zeros(len(documents), np.int64)
    tokens[there] = [len(piece) - 1 for piece in pieces]
    found = np.zeros((2, len(documents)))

    def run(pack: np.ndarray) -> None:
        found[:, there[pack]] = norms(lm, [pieces[i] for i in pack]).cpu().numpy()

    for_packs([len(piece) for piece in pieces], lm, run)
    return SequenceNorms(tokens, *found)


@torch.inference_mode()
def last_layer(lm: CausalLm, pieces: Sequence[np.ndarray]) -> torch.Tensor:
    """(2, S): losses and their gradients' norms by the last layer's weight, from one forward pass."""
    assert lm.head is not None
    pack = Pack.of(pieces, lm.pad, lm.device)
    lengths = [len(piece) - 1 for piece in pieces]
    found = last_layer_norms(hidden_states(lm, pack), lm.head, pack.targets_N, lengths)
    return torch.stack([found.losses, found.norms])


def full(lm: CausalLm, pieces: Sequence[np.ndarray]) -> torch.Tensor:
    """(2, S): losses and their gradients' norms by all parameters that require gradients."""
    found = ghost_norms(lm.model, Pack.of(pieces, lm.pad, lm.device))
    return torch.stack([found.losses, found.total])
