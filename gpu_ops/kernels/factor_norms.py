"""Norms of gradients by sequence from their factors: a layer's input and the gradient by its output.

Legend: B sequences, T tokens, L and R sizes of the two factors, P numbers of a parameter, C sequences of a
chunk. (Goodfellow 2015, arXiv 1510.01799; ghost norms: Li et al. 2022, arXiv 2110.05679.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from gpu_ops.kernels.last_layer_norm import by_gram

CHUNK = 1 << 24  # numbers that may be made at once: 64 MiB of float32


@dataclass(frozen=True)
class Outer:
    """The gradient of sequence b is sum_t left[b, t] (x) right[b, t]."""

    left_BTL: torch.Tensor
    right_BTR: torch.Tensor


@dataclass(frozen=True)
class Lookup:
    """The gradient of sequence b has right[b, t] added to its row ids[b, t], of rows as wide as R."""

    ids_BT: torch.Tensor
    right_BTR: torch.Tensor


@dataclass(frozen=True)
class Whole:
    """The gradient itself."""

    gradient_BP: torch.Tensor


Use = Outer | Lookup | Whole


def norms(uses: Sequence[Use]) -> torch.Tensor:
    """(B,) float64: norms of the sums of the uses' gradients, which are of one parameter.

    ValueError when factors and whole gradients meet."""
    outer = [use for use in uses if isinstance(use, Outer)]
    lookup = [use for use in uses if isinstance(use, Lookup)]
    whole = [use.gradient_BP for use in uses if isinstance(use, Whole)]
    if whole and len(whole) < len(uses):
        raise ValueError("it is the weight of a linear layer or an embedding and that of another layer too")
    if whole:
        return torch.linalg.vector_norm(torch.stack(whole).sum(0), dim=1, dtype=torch.float64)
    dense = (
        Outer(_joined([u.left_BTL for u in outer]), _joined([u.right_BTR for u in outer])) if outer else None
    )
    rows = (
        Lookup(_joined([u.ids_BT for u in lookup]), _joined([u.right_BTR for u in lookup]))
        if lookup
        else None
    )
    squares = [outer_squares(dense)] if dense else []
    squares += [lookup_squares(rows)] if rows else []
    squares += [2 * products(dense, rows)] if dense and rows else []
    return torch.stack(squares).sum(0).clamp(min=0).sqrt()


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    """The tokens of all uses, one after the other: the sum over them is the sum of the uses' gradients."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def outer_squares(use: Outer) -> torch.Tensor:
    """(B,) float64: squared norms, from Gram matrices (2 T^2 (L + R) operations) or from the gradients
    (2 T L R), whichever takes fewer and, where both fit, whatever fits in a chunk."""
    (_, tokens, left), right = use.left_BTL.shape, use.right_BTR.shape[2]
    gram = by_gram(tokens, left, right)
    sizes = {True: 2 * tokens * tokens, False: left * right}
    if sizes[gram] > CHUNK >= sizes[not gram]:
        gram = not gram

    def squares(left_CTL: torch.Tensor, right_CTR: torch.Tensor) -> torch.Tensor:
        left_CTL, right_CTR = left_CTL.float(), right_CTR.float()
        if not gram:
            return (left_CTL.mT @ right_CTR).square().sum((1, 2), dtype=torch.float64)
        product = (left_CTL @ left_CTL.mT).mul_(right_CTR @ right_CTR.mT)
        return product.sum((1, 2), dtype=torch.float64)

    return _in_chunks(squares, sizes[gram] + tokens * (left + right), use.left_BTL, use.right_BTR)


def lookup_squares(use: Lookup) -> torch.Tensor:
    """(B,) float64: squared norms, from the sums of the rows that each sequence used: O(T R)."""
    rows, height = len(use.ids_BT), int(use.ids_BT.max()) + 1
    ids_BT = use.ids_BT + torch.arange(rows, device=use.ids_BT.device)[:, None] * height
    used, slot_BT = torch.unique(ids_BT, return_inverse=True)
    flat = use.right_BTR.flatten(0, 1).float()
    sums = flat.new_zeros(len(used), flat.shape[1]).index_add_(0, slot_BT.flatten(), flat)
    squares = sums.square().sum(1, dtype=torch.float64)
    owner = used.div(height, rounding_mode="floor")
    return squares.new_zeros(rows).index_add_(0, owner, squares)


def products(a: Outer, b: Lookup) -> torch.Tensor:
    """(B,) float64: inner products of the gradients, from left[t, ids[u]] and right . right."""
    size = a.left_BTL.shape[1] * b.ids_BT.shape[1] * 2

    def inner(
        left_CTL: torch.Tensor, right_CTR: torch.Tensor, ids_CU: torch.Tensor, b_CUR: torch.Tensor
    ) -> torch.Tensor:
        there_CTU = ids_CU[:, None].expand(-1, left_CTL.shape[1], -1)
        product = left_CTL.gather(2, there_CTU).float().mul_(right_CTR.float() @ b_CUR.float().mT)
        return product.sum((1, 2), dtype=torch.float64)

    return _in_chunks(inner, size, a.left_BTL, a.right_BTR, b.ids_BT, b.right_BTR)


def _in_chunks(function: Callable[..., torch.Tensor], numbers: int, *factors: torch.Tensor) -> torch.Tensor:
    """function(*factors) for chunks of the sequences; numbers: that it makes for one of them."""
    rows = max(CHUNK // numbers, 1)
    chunks = zip(*(torch.split(factor, rows) for factor in factors), strict=True)
    return torch.cat([function(*chunk) for chunk in chunks])
