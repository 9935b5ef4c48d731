"""Loss, gradient bound, entropy and margin of every token from one pass over its logits, never kept whole.

Legend: N tokens, V vocabulary, D hidden size, S parts of the vocabulary. Of a token's logits z, whose target
is y, only six numbers stay, all but the last over the other tokens j != y (so nothing cancels where p(y) is
almost 1): the highest logit m, the second, sum e^(z-m), sum e^2(z-m), sum (z-m) e^(z-m), and z_y itself.
z_y, on whose last bits such a token's 1 - p(y) hangs, is made once more, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import torch

IGNORED = -100  # as a target: the row is not scored
START = torch.finfo(torch.float32).min  # of a running maximum: finite, as -inf - -inf is no number
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Head:
    """logits = cap * tanh(z / cap) with z = scale * (hidden @ weight.T + bias); without a cap z itself.

    weight: (V, D). bias: (V,).
    """

    weight: torch.Tensor
    bias: torch.Tensor | None = None
    scale: float = 1.0
    cap: float | None = None


@dataclass(frozen=True)
class HeadStats:
    """What a head says of every token: (N,) float32 each, on the device of the input; p = softmax(logits).

    loss: -log p(target), nats, so p(target) is exp(-loss). delta: the length of p - onehot(target), the
    gradient by the logits (EL2N; times the length of `hidden` the last layer's gradient norm of that token).
    entropy: of p, nats. margin: p(first) - p(second). top: p(first), 1 - top is 'least confidence'.
    hidden_square: the squared length of the hidden state; 0 where only logits were given.

    Ignored rows hold zeros. A row with NaN or +inf among its logits holds NaN in the columns made from them.
    """

    loss: torch.Tensor
    delta: torch.Tensor
    entropy: torch.Tensor
    margin: torch.Tensor
    top: torch.Tensor
    hidden_square: torch.Tensor


@torch.no_grad()
def head_stats(hidden_ND: torch.Tensor, head: Head, targets_N: torch.Tensor) -> HeadStats:
    """The statistics of softmax(head(hidden)) at the targets, in memory of O(N) beside the input.

    float32, bfloat16 or float16 in; products in the dtype of `hidden` (a weight of another one is rounded to
    it, tile by tile), sums in float32, but the target's own logit in float64. On a CUDA device this is a
    Triton kernel, on the CPU tiles of logits that stay in the cache; on any other device, and without
    triton, the tiles are brought to the CPU, which is slow. The device, and how many rows there are, may
    change the last bits.

    Raises ValueError for shapes, dtypes, devices or targets that do not fit.
    """
    _check_head(hidden_ND, head)
    _check_targets(targets_N, len(hidden_ND), len(head.weight), hidden_ND.device)
    if _on_triton(hidden_ND):
        from gpu_ops.kernels import head_stats_triton

        states = head_stats_triton.head_states(hidden_ND, head, targets_N)
    else:
        from gpu_ops.kernels import head_stats_cpu

        states = head_stats_cpu.head_states(hidden_ND, head, targets_N)
    square_N = torch.linalg.vector_norm(hidden_ND, dim=1, dtype=torch.float32).square()
    return columns(states, targets_N, square_N)


@torch.no_grad()
def logits_stats(logits_NV: torch.Tensor, targets_N: torch.Tensor) -> HeadStats:
    """The same of logits that exist, for models whose head is of another form.

    Raises ValueError for shapes, dtypes, devices or targets that do not fit."""
    if logits_NV.ndim != 2 or logits_NV.dtype not in DTYPES:
        raise ValueError(f"logits must be (N, V) of float32, bfloat16 or float16: they are {_of(logits_NV)}")
    rows, vocabulary = logits_NV.shape
    _check_targets(targets_N, rows, vocabulary, logits_NV.device)
    if _on_triton(logits_NV):
        from gpu_ops.kernels import head_stats_triton

        states = head_stats_triton.logits_states(logits_NV, targets_N)
    else:
        from gpu_ops.kernels import head_stats_cpu

        states = head_stats_cpu.logits_states(logits_NV, targets_N)
    return columns(states, targets_N, torch.zeros_like(targets_N, dtype=torch.float32))


def reference(hidden_ND: torch.Tensor, head: Head, targets_N: torch.Tensor) -> HeadStats:
    """What head_stats gives, by the textbook in float64, with all logits in memory; columns are float64."""
    bias = None if head.bias is None else head.bias.double()
    logits_NV = to_logits(hidden_ND.double() @ head.weight.double().T, bias, head)
    return logits_reference(logits_NV, targets_N, hidden_ND.double().square().sum(1))


def logits_reference(
    logits_NV: torch.Tensor, targets_N: torch.Tensor, square_N: torch.Tensor | None = None
) -> HeadStats:
    """What logits_stats gives, by the textbook in float64; square_N is passed on."""
    z_NV, real_N = logits_NV.double(), targets_N != IGNORED
    log_p_NV, p_NV = z_NV.log_softmax(1), z_NV.softmax(1)
    own_N1 = torch.where(real_N, targets_N, 0)[:, None].long()
    others_N1 = z_NV.scatter(1, own_N1, -torch.inf).logsumexp(1, keepdim=True)
    left_N1 = torch.sigmoid(others_N1 - z_NV.gather(1, own_N1))  # 1 - p(target), where even float64 cancels
    best_N2 = torch.nn.functional.pad(p_NV, (0, 1)).topk(2, dim=1).values
    every = (
        -log_p_NV.gather(1, own_N1)[:, 0],
        torch.linalg.vector_norm(p_NV.scatter(1, own_N1, -left_N1), dim=1),
        torch.special.entr(p_NV).sum(1),
        best_N2[:, 0] - best_N2[:, 1],
        best_N2[:, 0],
        torch.zeros_like(real_N, dtype=torch.float64) if square_N is None else square_N,
    )
    return HeadStats(*(torch.where(real_N, column, 0.0) for column in every))


def to_logits(product: torch.Tensor, bias: torch.Tensor | None, head: Head) -> torch.Tensor:
    """The head's logits from products of hidden states with rows of its weight."""
    z = head.scale * (product if bias is None else product + bias)
    return z if head.cap is None else head.cap * torch.tanh(z / head.cap)


def columns(states_6N: torch.Tensor, targets_N: torch.Tensor, square_N: torch.Tensor) -> HeadStats:
    """The statistics from the six numbers of each row, float64 on any device.

    With q = 1 - p(target), the odds u = log(q / p(target)) give everything without a difference of
    near-equal numbers: loss = log(1 + e^u), q = sigmoid(u), p_j = q e^(z_j - m) / sum, so
    delta = q sqrt(1 + squares / sum^2), and entropy = H(q) + q H(others).
    """
    first, second, total, squares, weighted, own = states_6N
    highest = torch.where(first > START, first, -torch.inf)
    own = torch.where(own < torch.inf, own, torch.nan)
    odds = total.log() + highest - own
    q, p = torch.sigmoid(odds), torch.sigmoid(-odds)
    total = total.clamp(min=1)  # it is, unless the vocabulary is a single token and q is 0
    p_first = q / total
    p_second = p_first * torch.exp(second - first)
    top = torch.maximum(p, p_first)
    runner_up = torch.maximum(torch.minimum(p, p_first), p_second)
    every = (
        torch.logaddexp(odds, torch.zeros_like(odds)),
        q * torch.sqrt(1 + squares / total.square()),
        torch.special.entr(p) + torch.special.entr(q) + q * (total.log() - weighted / total),
        top - runner_up,
        top,
    )
    found = [column.float().to(targets_N.device) for column in every]
    return HeadStats(*(torch.where(targets_N == IGNORED, 0.0, column) for column in [*found, square_N]))


def _on_triton(tensor: torch.Tensor) -> bool:
    return tensor.is_cuda and find_spec("triton") is not None


def _check_head(hidden_ND: torch.Tensor, head: Head) -> None:
    weight, bias = head.weight, head.bias
    fits = hidden_ND.ndim == weight.ndim == 2 and hidden_ND.shape[1] == weight.shape[1] and len(weight) > 0
    if not fits or (bias is not None and bias.shape != (len(weight),)):
        raise ValueError(
            "hidden must be (N, D), the head's weight (V, D) and its bias (V,): they are "
            f"{_of(hidden_ND)}, {_of(weight)} and {bias if bias is None else _of(bias)}"
        )
    if not {hidden_ND.dtype, weight.dtype} <= set(DTYPES):
        raise ValueError(
            f"hidden and weight must be float32, bfloat16 or float16: they are {_of(hidden_ND)} and "
            f"{_of(weight)}; `reference` takes float64"
        )
    if {weight.device, (weight if bias is None else bias).device} != {hidden_ND.device}:
        raise ValueError(f"the head is on {weight.device}, hidden on {hidden_ND.device}: move one of them")
    if head.cap is not None and not head.cap > 0:
        raise ValueError(f"the head's cap is {head.cap}: it must be above 0, or None for none")


def _check_targets(targets_N: torch.Tensor, rows: int, vocabulary: int, device: torch.device) -> None:
    if targets_N.shape != (rows,) or targets_N.is_floating_point() or targets_N.device != device:
        raise ValueError(
            f"targets must be ({rows},) integers on {device}: they are {_of(targets_N)} on {targets_N.device}"
        )
    wrong_N = ((targets_N < 0) | (targets_N >= vocabulary)) & (targets_N != IGNORED)
    if bool(wrong_N.any()):
        row = int(wrong_N.nonzero()[0])
        raise ValueError(
            f"target {int(targets_N[row])} of row {row} is no token of a vocabulary of {vocabulary}; "
            f"rows that are not to be scored have {IGNORED}"
        )


def _of(tensor: torch.Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
