"""Attention that stays inside a document where several stand in one sequence."""

from __future__ import annotations

from typing import Any

import torch

PROBE = 8  # tokens of each of the two documents that `crosses` looks at


def document_inputs(position_ids: torch.Tensor) -> dict[str, Any]:
    """What to give a transformers model beside `input_ids`: `model(input_ids=ids, **document_inputs(p))`.

    position_ids: (B, L) int64, 0 where a document, or a piece of one, begins and throughout padding, as
    `operators/kernels/blocks.py` fills them. Without an attention mask and without a cache of keys,
    transformers 5 takes a position that is not one more than the one before for the beginning of
    another sequence (`masking_utils.find_packed_sequence_indices`) and masks accordingly, for eager, sdpa,
    flex and flash attention and for sliding windows. With `use_cache=True`, which is the default of most
    configurations, or with any `attention_mask`, be it of ones, it does not, and silently: hence this
    function. Padding costs attention to itself only. For models that transformers does not mask (their own
    code, recurrent ones), ask `crosses` once before training.
    """
    return {"position_ids": position_ids, "attention_mask": None, "use_cache": False}


def document_mask(position_ids: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """(B, 1, L, L) causal within each document: the mask itself, for attention that takes one.

    position_ids: (B, L) as in `document_inputs`. dtype None: bool, true where a query (third axis) sees a
    key, as torch's scaled_dot_product_attention and transformers' sdpa have it. A floating dtype (that of
    the model): 0 or the most negative number, which is added to the scores; transformers' eager attention
    needs this form, sdpa takes it too. Every query sees at least itself, so no row is empty. Memory: B L^2
    elements; it also replaces the mask of a model with sliding windows, which `document_inputs` keeps.
    """
    length = position_ids.shape[-1]
    document = (position_ids == 0).cumsum(-1)
    seen = (document[:, :, None] == document[:, None, :]).tril()[:, None]
    if dtype is None:
        return seen
    hidden = torch.zeros(len(position_ids), 1, length, length, dtype=dtype, device=position_ids.device)
    return hidden.masked_fill_(~seen, torch.finfo(dtype).min)


@torch.no_grad()
def crosses(model: Any, vocabulary: int, tolerance: float = 1e-4) -> float | None:
    """How much a document's logits change with the document before it in the same sequence: None where they
    do not (below `tolerance` of the largest logit), else the largest change in that unit.

    model: called as `model(input_ids=..., **document_inputs(...)).logits`, on its own device and in its own
    mode, put back afterwards; vocabulary: ids below it are fed. Recurrent models (Mamba, RWKV), attention of
    their own making and peft's prompt tuning (which drops position ids) may not honour boundaries; a
    trainer asks once and refuses, as the loss would not tell. Raises what the model raises.
    """
    device = next(model.parameters()).device
    ids = (torch.arange(3 * PROBE, device=device) * 7 + 1) % vocabulary
    rows = torch.stack([torch.cat([ids[:PROBE], ids[-PROBE:]]), ids[PROBE:]])
    positions = torch.arange(PROBE, device=device).repeat(2).expand(2, -1)
    training = model.training
    model.eval()
    try:
        logits = model(input_ids=rows, **document_inputs(positions)).logits[:, PROBE:].float()
    finally:
        model.train(training)
    change = float((logits[0] - logits[1]).abs().max() / logits.abs().max().clamp_min(1e-30))
    return change if change > tolerance else None
