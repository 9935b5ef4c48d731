"""What a causal language model says of every token of many sequences: one pass, logits never kept.

Legend: B windows in a pack, T inputs of the longest, N scored tokens, D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch

from gpu_ops.kernels.causal_lm import CausalLm
from gpu_ops.kernels.head_stats import HeadStats, head_stats, logits_stats
from gpu_ops.kernels.packing import for_packs
from gpu_ops.kernels.tokens import windows

NAMES = tuple(field.name for field in fields(HeadStats))


@dataclass(frozen=True)
class TokenStats:
    """Statistics of the scored tokens of n sequences, one sequence after the other.

    starts: (n + 1,) sequence i has the tokens starts[i] to starts[i + 1]. values: name -> (tokens,) float32,
    as in HeadStats.
    """

    starts: npt.NDArray[np.int64]
    values: Mapping[str, npt.NDArray[np.float32]]

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """(n,) scored tokens of each sequence."""
        return np.diff(self.starts)

    def sums(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """(n,) the sum of each sequence's values, 0 where it has none."""
        total = np.zeros(len(self.starts) - 1)
        some = self.counts > 0
        if some.any():
            total[some] = np.add.reduceat(values, self.starts[:-1][some], dtype=np.float64)
        return total


def document_stats(
    lm: CausalLm, documents: Sequence[np.ndarray], wanted: Collection[str] = NAMES
) -> TokenStats:
    """The wanted statistics of every document's tokens; one longer than the
    model's window is read in several."""
    pieces = [windows(ids, lm.bos, lm.window) for ids in documents]
    found = window_stats(lm, [window for piece in pieces for window in piece], wanted)
    firsts = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])]).astype(np.int64)
    return TokenStats(found.starts[firsts], found.values)


def window_stats(lm: CausalLm, pieces: Sequence[np.ndarray], wanted: Collection[str] = NAMES) -> TokenStats:
    """The wanted statistics of each window's tokens but the first, which is context.

    Windows of like length share a forward pass of at most `lm.budget` tokens. Running out of memory
    halves that; MemoryError when one window alone does not fit."""
    names = [name for name in NAMES if name in wanted]
    starts = starts_of(pieces)
    places: list[np.ndarray] = []
    found: list[torch.Tensor] = []

    def run(pack: np.ndarray) -> None:
        # Everything stays on the device until the last pack: copies would wait for it each time.
        found.append(_forward(lm, [pieces[i] for i in pack], names))
        places.append(np.concatenate([np.arange(starts[i], starts[i + 1]) for i in pack]))

    for_packs([len(piece) for piece in pieces], lm, run)
    values = np.zeros((len(names), int(starts[-1])), np.float32)
    if found:
        values[:, np.concatenate(places)] = torch.cat(found, dim=1).cpu().numpy()
    return TokenStats(starts, dict(zip(names, values, strict=True)))


def starts_of(pieces: Sequence[np.ndarray]) -> npt.NDArray[np.int64]:
    """(n + 1,) where the scored tokens of each window begin among those of all."""
    return np.concatenate([[0], np.cumsum([len(piece) - 1 for piece in pieces])]).astype(np.int64)


@dataclass(frozen=True)
class Pack:
    """Windows padded to the longest. Padding comes last and attention looks back, so that no mask is needed:
    kernels without one are faster.

    inputs: (B, T). real: (N,) where in the flat (B * T) the scored tokens are; targets: (N,) what they are.
    """

    inputs_BT: torch.Tensor
    real_N: torch.Tensor
    targets_N: torch.Tensor

    @staticmethod
    def of(batch: Sequence[np.ndarray], pad: int, device: str) -> Pack:
        """Of these windows, in their order."""
        lengths = np.array([len(piece) - 1 for piece in batch])
        width = int(lengths.max())
        padded_BT = np.full((len(batch), width + 1), pad, np.int64)
        for row, piece in zip(padded_BT, batch, strict=True):
            row[: len(piece)] = piece
        tokens_BT = torch.from_numpy(padded_BT).to(device)
        real_N = torch.from_numpy(np.flatnonzero(np.arange(width) < lengths[:, None])).to(device)
        return Pack(tokens_BT[:, :-1], real_N, tokens_BT[:, 1:].flatten()[real_N])

    def scored(self, states_BTD: torch.Tensor) -> torch.Tensor:
        """(N, D): without those of the padding."""
        flat = states_BTD.flatten(0, 1)
        return flat if len(flat) == len(self.real_N) else flat[self.real_N]


def hidden_states(lm: CausalLm, pack: Pack) -> torch.Tensor:
    """(N, D) the last hidden states of the scored tokens."""
    return pack.scored(lm.model.base_model(pack.inputs_BT, use_cache=False)[0])


@torch.inference_mode()
def _forward(lm: CausalLm, batch: Sequence[np.ndarray], names: Sequence[str]) -> torch.Tensor:
    """(statistics, N): one forward pass."""
    pack = Pack.of(batch, lm.pad, lm.device)
    if lm.head is None:
        logits_NV = pack.scored(lm.model(pack.inputs_BT, use_cache=False).logits)
        stats = logits_stats(logits_NV, pack.targets_N)
    else:
        stats = head_stats(hidden_states(lm, pack), lm.head, pack.targets_N)
    return torch.stack([getattr(stats, name) for name in names])
