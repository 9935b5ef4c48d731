"""Summed next-token losses of many token sequences: length-bucketed batches and a chunked head.

Legend: B windows in a batch, T tokens of the longest, N scored tokens in the batch, V vocabulary, D hidden.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from gpu_ops.kernels.causal_lm import CausalLm
from gpu_ops.kernels.tokens import windows

MIN_CHUNK_ROWS = 512  # measured: 93 % of the matrix product's speed, with 128 rows 49 %
CHUNK_LOGITS = 1 << 24  # 64 MiB of float32


def document_losses(lm: CausalLm, documents: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Summed loss in nats (float64) and number of scored tokens (int64) of every document's tokens."""
    pieces = [windows(ids, lm.bos, lm.window) for ids in documents]
    losses = window_losses(lm, [window for piece in pieces for window in piece])
    owner = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
    total = np.zeros(len(pieces))
    np.add.at(total, owner, losses)
    scored = [sum(len(window) - 1 for window in piece) for piece in pieces]
    return total, np.array(scored, np.int64)


def window_losses(lm: CausalLm, pieces: Sequence[np.ndarray]) -> np.ndarray:
    """Summed loss of each window's tokens but the first, in nats, float64.

    Windows of like length share a forward pass of at most `lm.budget` tokens. Out of memory: the budget
    is halved and the batch tried again; MemoryError when one window alone does not fit.
    """
    losses = np.zeros(len(pieces))
    order = np.argsort([-len(piece) for piece in pieces], kind="stable")
    pending = list(_packs(pieces, order, lm.budget))[::-1]
    while pending:
        pack = pending.pop()
        found = _try_losses(lm, [pieces[i] for i in pack])
        if found is not None:
            losses[pack] = found
            continue
        lm.budget = max(lm.budget // 2, 1)
        pending.extend([half for half in np.array_split(pack, 2) if len(half)][::-1])
    return losses


def _packs(pieces: Sequence[np.ndarray], order: np.ndarray, budget: int) -> Iterator[np.ndarray]:
    """Runs of `order` (longest first) whose padded size is at most `budget` tokens, or one window."""
    start = 0
    while start < len(order):
        rows = max(budget // len(pieces[order[start]]), 1)
        yield order[start : start + rows]
        start += rows


def _try_losses(lm: CausalLm, batch: list[np.ndarray]) -> np.ndarray | None:
    """The losses, or None when the device has not the memory for this many windows."""
    try:
        return _batch_losses(lm, batch)
    except RuntimeError as error:  # torch.OutOfMemoryError is one; the CPU's allocator has no own class
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        if len(batch) == 1:
            raise MemoryError(
                f"one window of {len(batch[0])} tokens does not fit on {lm.device}: "
                "lower `max_tokens` or `batch_tokens`, or take a smaller model"
            ) from error
    if lm.device.startswith("cuda"):
        torch.cuda.empty_cache()
    return None


@torch.inference_mode()
def _batch_losses(lm: CausalLm, batch: list[np.ndarray]) -> np.ndarray:
    """One forward pass over windows padded to the longest."""
    lengths = torch.tensor([len(piece) - 1 for piece in batch])
    width = int(lengths.max())
    padded = np.full((len(batch), width + 1), lm.pad, np.int64)
    for row, piece in zip(padded, batch, strict=True):
        row[: len(piece)] = piece
    tokens_BT = torch.from_numpy(padded).to(lm.device)
    real_BT = (torch.arange(width)[None] < lengths[:, None]).to(lm.device)
    losses_BT = torch.zeros(real_BT.shape, device=lm.device, dtype=torch.float64)
    losses_BT[real_BT] = _token_losses(lm, tokens_BT, real_BT).double()
    return losses_BT.sum(1).cpu().numpy()


def _token_losses(lm: CausalLm, tokens_BT: torch.Tensor, real_BT: torch.Tensor) -> torch.Tensor:
    """Losses (N,) of the real next tokens. Logits exist for one chunk of rows at a time, unless only the
    model itself knows how to make them."""
    inputs = {"input_ids": tokens_BT[:, :-1], "attention_mask": real_BT.long(), "use_cache": False}
    targets_N = tokens_BT[:, 1:][real_BT]
    if lm.head is None:
        rows_N = lm.model(**inputs).logits[real_BT]
        vocabulary = rows_N.shape[1]
    else:
        rows_N = lm.model.base_model(**inputs)[0][real_BT]
        vocabulary = lm.head.weight.shape[0]
    chunk = max(MIN_CHUNK_ROWS, CHUNK_LOGITS // vocabulary)
    losses = [
        cross_entropy((rows if lm.head is None else lm.head(rows)).float(), targets, reduction="none")
        for rows, targets in zip(torch.split(rows_N, chunk), torch.split(targets_N, chunk), strict=True)
    ]
    return torch.cat(losses)
