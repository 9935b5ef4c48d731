"""head_stats on a GPU: one Triton kernel whose programs own a block of rows and a part of the vocabulary.

Legend: N tokens, V vocabulary, D hidden size, S parts of the vocabulary; BN, BV, BD sizes of tiles. No locks
and no atomics: each program writes the six numbers (see head_stats) of its rows and its part, and a second,
tiny reduction joins the parts, always in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl

from gpu_ops.kernels.head_stats import IGNORED, START, to_logits

if TYPE_CHECKING:
    from gpu_ops.kernels.head_stats import Head

PARTS = 4  # at least: programs that run together then share tiles of hidden states in the L2 cache as well
WAVES = 4  # programs for each multiprocessor, so that the last wave, hardly ever full, costs little
LOWEST = tl.constexpr(START)


@triton.jit
def states_kernel(  # type: ignore[no-untyped-def]
    hidden, weight, bias, logits, targets, out,
    N, scale, cap, hidden_n, hidden_d, weight_v, weight_d, logits_n, logits_v, out_6,
    V: tl.constexpr, D: tl.constexpr, S: tl.constexpr,
    GIVEN: tl.constexpr, BIASED: tl.constexpr, SCALED: tl.constexpr, CAPPED: tl.constexpr,
    WIDEN: tl.constexpr, BN: tl.constexpr, BV: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """out[6, S, N] of rows BN * (id // S) and of the id % S-th part of the vocabulary.

    GIVEN: logits are read; else they are made of hidden and weight. WIDEN: 16-bit factors become float32
    first, which gives the same products (Triton's interpreter multiplies bfloat16 bits as integers, its
    issue 11584)."""
    part = tl.program_id(0) % S
    rows = tl.program_id(0) // S * BN + tl.arange(0, BN)
    # Rows and tokens past the end are read as the last one, which needs no masks where the time goes.
    row = tl.minimum(rows, N - 1).to(tl.int64)
    target = tl.load(targets + row)
    first = tl.full((BN,), LOWEST, tl.float32)
    second = tl.full((BN,), LOWEST, tl.float32)
    own = tl.full((BN,), float("-inf"), tl.float32)
    total = tl.zeros((BN,), tl.float32)
    squares = tl.zeros((BN,), tl.float32)
    weighted = tl.zeros((BN,), tl.float32)
    TILES: tl.constexpr = (V + BV * S - 1) // (BV * S)
    for tile in range(0, TILES):
        token = (part * TILES + tile) * BV + tl.arange(0, BV)
        place = tl.minimum(token, V - 1).to(tl.int64)
        if GIVEN:
            z = tl.load(logits + row[:, None] * logits_n + place[None, :] * logits_v).to(tl.float32)
        else:
            z = tl.zeros((BN, BV), tl.float32)
            for start in range(0, D, BD):
                d = start + tl.arange(0, BD)
                h_at = hidden + row[:, None] * hidden_n + d[None, :] * hidden_d
                w_at = weight + place[None, :] * weight_v + d[:, None] * weight_d
                if D % BD == 0:
                    h = tl.load(h_at)
                    w = tl.load(w_at)
                else:
                    h = tl.load(h_at, mask=d[None, :] < D, other=0.0)
                    w = tl.load(w_at, mask=d[:, None] < D, other=0.0)
                w = w.to(h.dtype)
                if WIDEN:
                    h = h.to(tl.float32)
                    w = w.to(tl.float32)
                z = tl.dot(h, w, z, input_precision="ieee")  # not TF32
            if BIASED:
                z += tl.load(bias + place).to(tl.float32)[None, :]
            if SCALED:
                z *= scale
            if CAPPED:
                # tanh(x) = 1 - 2 / (e^2x + 1), for |x| so that nothing overflows and the sign stays
                x = tl.abs(z) / cap
                e = tl.exp(-2.0 * x)
                z = tl.where(z < 0, -cap, cap) * ((1.0 - e) / (1.0 + e))
        is_own = token[None, :] == target[:, None]
        if GIVEN:
            found = tl.max(is_own.to(tl.int32), axis=1) > 0
            own = tl.where(found, tl.sum(tl.where(is_own, z, 0.0), axis=1), own)
        z = tl.where(is_own | (token[None, :] >= V), float("-inf"), z)

        highest = tl.max(z, axis=1)
        is_highest = z == highest[:, None]
        lower = tl.max(tl.where(is_highest, float("-inf"), z), axis=1)
        lower = tl.where(tl.sum(is_highest.to(tl.int32), axis=1) > 1, highest, lower)
        second = tl.maximum(tl.maximum(second, lower), tl.minimum(first, highest))
        new = tl.maximum(first, highest)
        t = z - new[:, None]
        e = tl.exp(t)
        less = first - new
        factor = tl.exp(less)
        # where: 0 * -inf is no number; NaN is not 0 and stays
        part_weighted = tl.sum(tl.where(e == 0.0, 0.0, e * t), axis=1)
        weighted = factor * (weighted + less * total) + part_weighted
        total = factor * total + tl.sum(e, axis=1)
        squares = factor * factor * squares + tl.sum(e * e, axis=1)
        first = new

    at = out + part.to(tl.int64) * N + rows
    tl.store(at, first, mask=rows < N)
    tl.store(at + out_6, second, mask=rows < N)
    tl.store(at + 2 * out_6, total, mask=rows < N)
    tl.store(at + 3 * out_6, squares, mask=rows < N)
    tl.store(at + 4 * out_6, weighted, mask=rows < N)
    tl.store(at + 5 * out_6, own, mask=rows < N)


OWN_DEPTH = 512


@triton.jit
def own_kernel(  # type: ignore[no-untyped-def]
    hidden, weight, token, out, hidden_n, hidden_d, weight_v, weight_d, D: tl.constexpr, BD: tl.constexpr
):
    """out[N]: the product of a row of hidden with its token's row of weight, in float64."""
    row = tl.program_id(0).to(tl.int64)
    place = tl.load(token + row).to(tl.int64)
    total = tl.zeros((BD,), tl.float64)
    for start in range(0, D, BD):
        d = start + tl.arange(0, BD)
        h = tl.load(hidden + row * hidden_n + d * hidden_d, mask=d < D, other=0.0)
        w = tl.load(weight + place * weight_v + d * weight_d, mask=d < D, other=0.0).to(h.dtype)
        total += h.to(tl.float64) * w.to(tl.float64)
    tl.store(out + row, tl.sum(total, axis=0))


def _config(rows: int, tokens: int, depth: int, warps: int, stages: int) -> triton.Config:
    return triton.Config({"BN": rows, "BV": tokens, "BD": depth}, num_warps=warps, num_stages=stages)


# For Hopper. Two programs of 128 x 128 with 4 warps fit on one multiprocessor, so that one multiplies while
# the other reduces; 128 x 256 reads less. The last ones are for GPUs with less shared memory.
CONFIGS_16_BIT = [
    _config(128, 256, 64, 8, 3),
    _config(128, 256, 64, 8, 4),
    _config(128, 128, 64, 8, 3),
    _config(128, 128, 64, 4, 3),
    _config(128, 128, 32, 8, 4),
    _config(64, 128, 32, 4, 3),
    _config(64, 64, 32, 4, 2),
]
CONFIGS_FLOAT32 = [_config(128, 64, 32, 8, 2), _config(64, 64, 32, 4, 2), _config(64, 64, 16, 4, 3)]
CONFIGS_GIVEN = [_config(16, 256, 16, 4, 2), _config(16, 128, 16, 4, 2), _config(16, 512, 16, 8, 2)]
SMALLEST_ROWS, SMALLEST_TOKENS = 64, 64

KEY = ["V", "D", "BIASED", "SCALED", "CAPPED"]
TUNED_16_BIT = triton.autotune(CONFIGS_16_BIT, key=KEY)(states_kernel)
TUNED_FLOAT32 = triton.autotune(CONFIGS_FLOAT32, key=KEY)(states_kernel)
TUNED_GIVEN = triton.autotune(CONFIGS_GIVEN, key=KEY)(states_kernel)


@dataclass(frozen=True)
class Plan:
    """A launch that is not tuned: the vocabulary's parts, and the sizes of tiles (powers of 2 from 16)."""

    parts: int
    rows: int
    tokens: int
    depth: int
    widen: bool = False


def head_states(
    hidden_ND: torch.Tensor, head: Head, targets_N: torch.Tensor, plan: Plan | None = None
) -> torch.Tensor:
    """(6, N) float64, see head_stats."""
    bias = hidden_ND if head.bias is None else head.bias.contiguous()
    cap = 1.0 if head.cap is None else float(head.cap)
    flags = {
        "V": len(head.weight),
        "D": hidden_ND.shape[1],
        "GIVEN": False,
        "BIASED": head.bias is not None,
        "SCALED": head.scale != 1,
        "CAPPED": head.cap is not None,
    }
    numbers = float(head.scale), cap, *hidden_ND.stride(), *head.weight.stride(), 0, 0
    states_6N = _run((hidden_ND, head.weight, bias, hidden_ND), targets_N, numbers, flags, plan)
    states_6N[5] = _own_logits(hidden_ND, head, targets_N)
    return states_6N


def logits_states(logits_NV: torch.Tensor, targets_N: torch.Tensor, plan: Plan | None = None) -> torch.Tensor:
    """(6, N) float64 of given logits."""
    flags = {
        "V": logits_NV.shape[1],
        "D": 0,
        "GIVEN": True,
        "BIASED": False,
        "SCALED": False,
        "CAPPED": False,
    }
    numbers = 1.0, 1.0, 0, 0, 0, 0, *logits_NV.stride()
    return _run((logits_NV,) * 4, targets_N, numbers, flags, plan)


def _run(
    tensors: tuple[torch.Tensor, ...],
    targets_N: torch.Tensor,
    numbers: tuple[float, ...],
    flags: dict[str, Any],
    plan: Plan | None,
) -> torch.Tensor:
    """Launches the kernel, tuned once for each head and dtype unless there is a plan, and joins the parts."""
    rows = len(targets_N)
    parts = _parts(rows, flags["V"], targets_N.device) if plan is None else plan.parts
    out_6SN = torch.empty(6, parts, rows, device=targets_N.device)
    arguments = *tensors, targets_N.contiguous(), out_6SN, rows, *numbers, out_6SN.stride(0)
    fixed = {**flags, "S": parts, "enable_fp_fusion": True}
    with torch.cuda.device_of(targets_N):  # type: ignore[no-untyped-call]
        if rows and plan is None:
            tuned = TUNED_FLOAT32 if tensors[0].dtype == torch.float32 else TUNED_16_BIT
            tuned = TUNED_GIVEN if flags["GIVEN"] else tuned
            tuned[lambda tile: (triton.cdiv(rows, tile["BN"]) * parts,)](*arguments, **fixed, WIDEN=False)
        elif rows and plan is not None:
            sizes = {"BN": plan.rows, "BV": plan.tokens, "BD": plan.depth, "WIDEN": plan.widen}
            states_kernel[(triton.cdiv(rows, plan.rows) * parts,)](*arguments, **fixed, **sizes)
    return joined(out_6SN)


def _own_logits(hidden_ND: torch.Tensor, head: Head, targets_N: torch.Tensor) -> torch.Tensor:
    """(N,) float64, of any token where the row is ignored."""
    token_N = torch.where(targets_N == IGNORED, 0, targets_N).contiguous()
    product_N = torch.empty(len(token_N), dtype=torch.float64, device=token_N.device)
    strides = *hidden_ND.stride(), *head.weight.stride()
    if len(token_N):
        with torch.cuda.device_of(token_N):  # type: ignore[no-untyped-call]
            own_kernel[(len(token_N),)](
                hidden_ND, head.weight, token_N, product_N, *strides, D=hidden_ND.shape[1], BD=OWN_DEPTH
            )
    bias_N = None if head.bias is None else head.bias[token_N.long()].double()
    return to_logits(product_N, bias_N, head)


def _parts(rows: int, vocabulary: int, device: torch.device) -> int:
    """Into how many parts the vocabulary goes: more where the rows alone do not fill the device."""
    processors = torch.cuda.get_device_properties(device).multi_processor_count
    blocks = max(1, triton.cdiv(rows, SMALLEST_ROWS))
    wanted = max(PARTS, triton.cdiv(WAVES * processors, blocks))
    return int(min(triton.next_power_of_2(wanted), triton.cdiv(vocabulary, SMALLEST_TOKENS)))


def joined(out_6SN: torch.Tensor) -> torch.Tensor:
    """(6, N) float64: the states of all parts in one."""
    first, second, total, squares, weighted, own = out_6SN.double()
    highest = first.amax(0)
    less = first - highest
    factor = less.exp()
    # The highest of all but the one `highest` is: the second part's first, or some part's second.
    runner_up = torch.nn.functional.pad(first, (0, 0, 0, 1), value=START).topk(2, dim=0).values[1]
    return torch.stack(
        [
            highest,
            torch.maximum(second.amax(0), runner_up),
            (factor * total).sum(0),
            (factor.square() * squares).sum(0),
            (factor * (weighted + less * total)).sum(0),
            own.amax(0),
        ]
    )
