"""Inputs that every way to compute head statistics must get right; as a program, it is one of these ways:

`python head_cases.py OUT.pt` with TRITON_INTERPRET=1 runs the Triton kernel in Triton's interpreter, which
must be chosen before triton is first imported, and writes the states of all cases.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch

from gpu_ops.kernels.head_stats import IGNORED, Head

Normal = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class Case:
    """hidden and a head, or given logits; plan: (parts, rows, tokens, depth) of the interpreted launch."""

    targets: torch.Tensor
    hidden: torch.Tensor | None = None
    head: Head | None = None
    logits: torch.Tensor | None = None
    plan: tuple[int, int, int, int] = (2, 16, 32, 16)


def cases() -> dict[str, Case]:
    """The same ones at each call."""
    draw = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    def targets(rows: int, vocabulary: int) -> torch.Tensor:
        found = torch.randint(0, vocabulary, (rows,), generator=draw)
        found[::5] = IGNORED
        return found

    hidden, weight, bias = normal(37, 40), normal(203, 40), normal(203)
    y = targets(37, 203)
    found = {"float32": Case(y, hidden, Head(weight))}
    found["whole tiles"] = Case(targets(32, 64), normal(32, 32), Head(normal(64, 32)))
    found["one part"] = Case(y, hidden, Head(weight), plan=(1, 32, 64, 32))
    found["empty parts"] = Case(y, hidden, Head(weight), plan=(8, 16, 64, 64))
    found["bias, scale and cap"] = Case(y, hidden, Head(weight, bias, 0.5, 4.0))
    for dtype in (torch.bfloat16, torch.float16):
        small = Head(weight.to(dtype), bias.to(dtype))
        found[str(dtype)] = Case(y, hidden.to(dtype), small)
    found["strided"] = Case(y.repeat_interleave(2)[::2], normal(74, 80)[::2, ::2], Head(normal(40, 203).T))
    found["one token"] = Case(targets(7, 1), normal(7, 16), Head(normal(1, 16)))
    found["two tokens"] = Case(targets(7, 2), normal(7, 16), Head(normal(2, 16)))
    found["no rows"] = Case(targets(0, 9), normal(0, 16), Head(normal(9, 16)))
    found["all ignored"] = Case(torch.full((7,), IGNORED), normal(7, 16), Head(normal(9, 16)))
    found["ties"] = Case(targets(20, 40), logits=normal(20, 8).repeat(1, 5))
    tied = normal(20, 40)
    tied[:, 3] = tied[:, 11] = 5.0
    found["ties within a tile"] = Case(targets(20, 40), logits=tied)
    found["confident"] = _confident(normal)
    found["confident by large products"] = _confident_by_products(normal)
    for dtype in (torch.float32, torch.bfloat16):
        logits = 3 * normal(21, 150)
        found[f"logits {dtype}"] = Case(targets(21, 150), logits=logits.to(dtype))
    found["confident logits"] = _confident_logits(normal)
    found["extreme"] = Case(targets(40, 90), logits=1e4 * (2 * torch.rand(40, 90, generator=draw) - 1))
    found["flat and high"] = Case(targets(9, 90), logits=torch.full((9, 90), 1e4))
    masked = normal(20, 90)
    masked[:, 30:80] = -torch.inf
    y = targets(20, 30)
    y[3] = 40  # its own logit is -inf: an infinite loss
    found["masked vocabulary"] = Case(y, logits=masked)
    broken = normal(6, 90)
    broken[1, 3], broken[2, 7], broken[3, 80], broken[4, 7] = torch.nan, torch.nan, torch.inf, torch.inf
    broken[5] = -torch.inf
    found["not a number"] = Case(torch.full((6,), 7), logits=broken)
    return found


def _confident(normal: Normal) -> Case:
    """Rows whose target has 1 - p from 1e-3 to 1e-8, through the head: the last hidden number is its lead."""
    hidden, weight = normal(40, 24), 0.05 * normal(500, 24)
    hidden[:, -1], weight[:, -1], weight[7] = torch.linspace(12.0, 25.5, 40), 0.0, 0.0
    weight[7, -1] = 1.0
    return Case(torch.full((40,), 7), hidden, Head(weight))


def _confident_by_products(normal: Normal) -> Case:
    """The same range, reached by hidden states that point where the target's weight does: its logit is a sum
    whose float32 rounding alone is more than what is allowed."""
    hidden, weight, y = normal(128, 400), 0.15 * normal(300, 400), torch.arange(128)
    hidden += torch.linspace(18, 31, 128)[:, None] * weight[y] / weight[y].square().sum(1, keepdim=True)
    return Case(y, hidden, Head(weight), plan=(4, 32, 64, 32))


def _confident_logits(normal: Normal) -> Case:
    """The same without the matrix product, so that only the statistics' own error is left."""
    logits = normal(40, 500)
    logits[:, 7] = torch.linspace(12.5, 26.0, 40)
    return Case(torch.full((40,), 7), logits=logits)


def main() -> None:
    from gpu_ops.kernels.head_stats_triton import Plan, head_states, logits_states

    states = {}
    for name, case in cases().items():
        plan = Plan(*case.plan, widen=True)
        if case.logits is not None:
            states[name] = logits_states(case.logits, case.targets, plan)
        else:
            assert case.hidden is not None
            assert case.head is not None
            states[name] = head_states(case.hidden, case.head, case.targets, plan)
    torch.save(states, sys.argv[1])


if __name__ == "__main__":
    main()
