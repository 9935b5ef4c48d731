"""The exact gradient norm of each sequence's loss by the output layer's weight, never holding a gradient.

Legend: N tokens of all sequences, T of one, S sequences, V vocabulary, D hidden size, C columns of a tile.

With delta_t the gradient of a sequence's loss by token t's products with the weight, its gradient is
G = sum_t delta_t (x) h_t. Tile after tile of the vocabulary the columns of delta are made anew and either
added to the Gram matrix delta delta' (T x T), as ||G||^2 = sum_tu (delta_t . delta_u)(h_t . h_u), or
multiplied with the hidden states to C rows of G, of which only the sum of squares is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from gpu_ops.kernels.head_stats import Head, head_stats, to_logits

TILE = 1 << 22  # numbers in a tile of deltas: 16 MiB
LEAST_COLUMNS = 256


@dataclass(frozen=True)
class LastLayer:
    """Of S sequences, (S,) float64 each. losses: mean over the tokens, nats. norms: of its gradient."""

    losses: torch.Tensor
    norms: torch.Tensor


@torch.no_grad()
def last_layer_norms(
    hidden_ND: torch.Tensor, head: Head, targets_N: torch.Tensor, lengths: Sequence[int]
) -> LastLayer:
    """The gradient norms of the token-mean loss of sequences that lie one after the other, by `head.weight`
    alone: where that is the input embedding too, the embedding's own share is not in it.

    lengths: (S,) tokens of each sequence, all at least 1, N together. Whether a sequence takes the Gram
    matrix (2 T^2 (V + D) operations) or rows of the gradient (2 T V D) is decided by which is less, so that
    a Gram matrix is never above D x D. Products in float32, sums over tiles in float64.

    Raises ValueError for lengths that do not fit, and as head_stats does.
    """
    if sum(lengths) != len(hidden_ND) or min(lengths, default=1) < 1:
        raise ValueError(f"lengths must be at least 1 and sum to {len(hidden_ND)}: they are {list(lengths)}")
    loss_N = head_stats(hidden_ND, head, targets_N).loss
    sizes_S = torch.tensor(lengths, dtype=torch.int64, device=hidden_ND.device)
    states = torch.split(hidden_ND.float(), list(lengths))
    sums = [_start(h_TD, len(head.weight)) for h_TD in states]
    for delta_NC in _deltas(hidden_ND, head, targets_N, loss_N, 1 / sizes_S.repeat_interleave(sizes_S)):
        for total, h_TD, delta_TC in zip(sums, states, torch.split(delta_NC, list(lengths)), strict=True):
            if total.ndim:
                total += delta_TC @ delta_TC.T
            else:
                total += (delta_TC.T @ h_TD).square().sum(dtype=torch.float64)
    squares = [_finish(total, h_TD) for total, h_TD in zip(sums, states, strict=True)]
    losses = [part.mean(dtype=torch.float64) for part in torch.split(loss_N, list(lengths))]
    empty = torch.zeros(0, dtype=torch.float64, device=hidden_ND.device)
    return LastLayer(*(torch.stack(some) if some else empty for some in (losses, squares)))


def by_gram(tokens: int, rows: int, columns: int) -> bool:
    """Whether the Gram matrices of both factors take fewer operations than their product (rows, columns)."""
    return tokens * (rows + columns) < rows * columns


def _start(h_TD: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """Where a sequence's tiles are summed: (T, T), or () for squares of rows; zeros."""
    tokens, hidden = h_TD.shape
    shape = (tokens, tokens) if by_gram(tokens, vocabulary, hidden) else ()
    return torch.zeros(shape, dtype=torch.float64, device=h_TD.device)


def _finish(total: torch.Tensor, h_TD: torch.Tensor) -> torch.Tensor:
    """The norm from what was summed."""
    if not total.ndim:
        return total.sqrt()
    h_TD = h_TD.double()
    return torch.sum(total * (h_TD @ h_TD.T)).clamp(min=0).sqrt()


def _deltas(
    hidden_ND: torch.Tensor, head: Head, targets_N: torch.Tensor, loss_N: torch.Tensor, share_N: torch.Tensor
) -> Iterator[torch.Tensor]:
    """Tiles (N, C) of the gradient of sum(share * loss) by hidden @ weight.T, through scale and soft cap.

    The target's own column is e^-loss - 1, which keeps its digits where p(target) is almost 1."""
    h_ND = hidden_ND.float()
    own_ND = head.weight[targets_N].to(hidden_ND.dtype).double()
    bias_N = None if head.bias is None else head.bias[targets_N].double()
    own_N = to_logits(torch.linalg.vecdot(hidden_ND.double(), own_ND), bias_N, head)
    all_N1 = (own_N + loss_N).float()[:, None]  # log sum e^z
    share_N1 = head.scale * share_N[:, None]
    width = max(TILE // max(len(h_ND), 1), LEAST_COLUMNS)
    for first in range(0, len(head.weight), width):
        weight_CD = head.weight[first : first + width].to(hidden_ND.dtype).float()
        bias_C = None if head.bias is None else head.bias[first : first + width].float()
        logits_NC = to_logits(h_ND @ weight_CD.T, bias_C, head)
        delta_NC = torch.exp(logits_NC - all_N1)
        column_N = targets_N - first
        here = ((column_N >= 0) & (column_N < len(weight_CD))).nonzero()[:, 0]
        delta_NC[here, column_N[here]] = torch.expm1(-loss_N[here])
        if head.cap is not None:
            delta_NC *= 1 - (logits_NC / head.cap).square()
        yield delta_NC.mul_(share_N1)
