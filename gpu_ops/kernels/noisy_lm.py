"""Passes of a causal language model with dropout, and how much they disagree about each token.

Legend: N scored tokens of a pack, R of them at a time, T passes, D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gpu_ops.kernels.causal_lm import CausalLm
from gpu_ops.kernels.head_stats import Head, to_logits
from gpu_ops.kernels.keyed_dropout import PROBE, Noise, probe, with_keyed_dropout
from gpu_ops.kernels.packing import for_packs
from gpu_ops.kernels.token_stats import Pack, TokenStats, hidden_states, starts_of
from gpu_ops.kernels.tokens import windows
from operators.kernels.counter import UInt64s, mix64, random_bits

CHUNK_LOGITS = 1 << 23  # 32 MiB of float32
_STREAM = 0x6C6D62616C64  # keeps apart from other operators that share a seed


@dataclass
class NoisyLm:
    """A model with dropout in it. head: how its hidden states become logits."""

    lm: CausalLm
    noise: Noise
    head: Head


def noisy(lm: CausalLm, rate: float | None) -> NoisyLm:
    """The model with keyed dropout put into it. ValueError where that cannot be."""
    if lm.head is None:
        raise ValueError("its logits are no known function of its last hidden states; passes need that")
    noise = with_keyed_dropout(lm.model.base_model, rate)
    ids_BT = torch.zeros((PROBE, 5), dtype=torch.int64, device=lm.device)
    probe(noise, lambda: lm.model.base_model(ids_BT, use_cache=False))
    return NoisyLm(lm, noise, lm.head)


def mutual_information(
    model: NoisyLm, documents: Sequence[np.ndarray], key: UInt64s, seed: int, passes: int
) -> TokenStats:
    """`bald` and `mean_entropy` of every scored token, in nats. key: of each document."""
    lm = model.lm
    pieces = [windows(ids, lm.bos, lm.window) for ids in documents]
    flat = [window for piece in pieces for window in piece]
    counts = np.array([len(piece) for piece in pieces], np.int64)
    firsts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    number = np.arange(len(flat)) - np.repeat(firsts[:-1], counts)  # of a window in its document
    luck = mix64(random_bits(seed ^ _STREAM, np.repeat(key, counts)) ^ number.astype(np.uint64))
    starts = starts_of(flat)
    found = np.zeros((2, int(starts[-1])), np.float32)

    def run(pack: np.ndarray) -> None:
        model.noise.rows = luck[pack]
        some = Pack.of([flat[i] for i in pack], lm.pad, lm.device)
        place = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in pack])
        found[:, place] = _disagreement(model, some, passes).cpu().numpy()

    for_packs([len(piece) for piece in flat], lm, run)
    return TokenStats(starts[firsts], {"bald": found[0], "mean_entropy": found[1]})


@torch.inference_mode()
def _disagreement(model: NoisyLm, pack: Pack, passes: int) -> torch.Tensor:
    """(2, N) mutual information and entropy of the mean distribution."""
    states = []
    for number in range(passes):
        model.noise.number = number
        states.append(hidden_states(model.lm, pack))
    rows = max(CHUNK_LOGITS // len(model.head.weight), 1)
    chunks = zip(*(torch.split(hidden_ND, rows) for hidden_ND in states), strict=True)
    return torch.cat([_of_rows(model.head, chunk) for chunk in chunks], dim=1)


def _of_rows(head: Head, hidden_TRD: Sequence[torch.Tensor]) -> torch.Tensor:
    mean_RV, entropy_R = torch.zeros(()), torch.zeros(())
    for hidden_RD in hidden_TRD:
        log_p_RV = to_logits(hidden_RD @ head.weight.T, head.bias, head).float().log_softmax(1)
        p_RV = log_p_RV.exp()
        mean_RV = p_RV + mean_RV.to(p_RV.device)
        entropy_R = entropy_R.to(p_RV.device) - log_p_RV.mul_(p_RV).sum(1)
    total_R = torch.special.entr(mean_RV.div_(len(hidden_TRD))).sum(1)
    return torch.stack([(total_R - entropy_R / len(hidden_TRD)).clamp(min=0), total_R])
