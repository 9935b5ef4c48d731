"""Dropout whose masks are a pure function of (seed, row's key, pass, module, place), whatever the batch is.

Legend: B rows of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from operators.kernels.counter import UInt64s, mix64

_STRIDES = (0x2C1B3C6D, 0x297A2D39, 0x1B56C4E9)  # odd; from the last axis on


@dataclass
class Noise:
    """What the masks of the forward passes that come depend on. rows: (B,) 64 random bits for each row."""

    rows: UInt64s = field(default_factory=lambda: np.zeros(0, np.uint64))
    number: int = 0

    def bits(self, module: int) -> UInt64s:
        """(B,) for the dropout module of this number in the pass `number`."""
        return mix64(self.rows ^ mix64(np.array([(self.number << 20) + module], np.uint64)))


class KeyedDropout(nn.Module):
    """Zeroes a share `p` of what each row has and scales up the rest, also in evaluation mode."""

    def __init__(self, p: float, module: int, noise: Noise) -> None:
        super().__init__()
        self.p, self.module, self.noise = p, module, noise

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, ...); what lies behind a row's end (padding) does not change the masks of the others."""
        if len(x) != len(self.noise.rows):
            raise ValueError(
                f"the model drops from a tensor of {tuple(x.shape)} in a batch of {len(self.noise.rows)}: "
                "its first size is not that of the batch, so passes with dropout would depend on the batch"
            )
        seeds = (self.noise.bits(self.module) >> np.uint64(32)).astype(np.uint32).view(np.int32)
        place = torch.zeros(x.shape[1:], dtype=torch.int32, device=x.device)
        for axis, stride in zip(range(place.ndim - 1, -1, -1), _STRIDES, strict=False):
            shape = [-1 if axis == i else 1 for i in range(place.ndim)]
            place = place + (torch.arange(x.shape[axis + 1], device=x.device) * stride).int().view(shape)
        by_row = torch.from_numpy(seeds.copy()).to(x.device).view(-1, *[1] * place.ndim)
        luck = _mixed(by_row ^ _mixed(place)[None])
        kept = luck >= int(self.p * 2**32) - 2**31
        return torch.where(kept, x / (1 - self.p), torch.zeros((), dtype=x.dtype, device=x.device))


def _mixed(x: torch.Tensor) -> torch.Tensor:
    """The finaliser of MurmurHash3 on int32: a bijection whose output bits all depend on all input bits."""
    x = (x ^ ((x >> 16) & 0xFFFF)) * -2048144789
    x = (x ^ ((x >> 13) & 0x7FFFF)) * -1028477387
    return x ^ ((x >> 16) & 0xFFFF)


PROBE = 3  # rows with which a model is tried, a number that no other size of its tensors is likely to have


def probe(noise: Noise, run: Any) -> None:
    """Runs the model once over PROBE rows. ValueError for one that drops from anything but rows."""
    noise.rows = np.zeros(PROBE, np.uint64)
    with torch.inference_mode():
        run()


def with_keyed_dropout(network: Any, rate: float | None) -> Noise:
    """Puts keyed dropout in the place of every dropout module of the network, in place; in a network that has
    none, with a `rate`, before every linear layer (Gal & Ghahramani 2016).

    rate: instead of the modules' own. ValueError where nothing would be dropped."""
    noise, number = Noise(), 0
    if rate is not None and not any(isinstance(module, nn.Dropout) for module in network.modules()):
        for module in network.modules():
            if isinstance(module, nn.Linear):
                module.register_forward_pre_hook(_before(KeyedDropout(rate, number, noise)))
                number += 1
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Dropout) and (p := child.p if rate is None else rate) > 0:
                setattr(parent, name, KeyedDropout(p, number, noise))
                number += 1
    if number == 0:
        raise ValueError(
            "the model has no active dropout module, so all passes would be equal; give `dropout: 0.1` if "
            "its config says 0 or its dropout is no module (as OPT's), or take another model"
        )
    return noise


def _before(dropout: KeyedDropout) -> Any:
    """A hook that drops from what goes into a layer."""
    return lambda _, inputs: (dropout(inputs[0]), *inputs[1:])
