"""A document in a packed sequence has the loss, and gives the gradient, that it has alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from gpu_ops.kernels.document_mask import crosses, document_inputs, document_mask
from operators.kernels.blocks import IGNORE, Filled, best_fit, fill

VOCABULARY, SEQ_LEN = 50, 16
LENGTHS = np.array([5, 11, 3, 16, 1, 7, 2, 9, 4, 6, 2])
ATTENTIONS = ["eager", "sdpa"]


def llama(attention: str) -> Any:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=VOCABULARY, num_key_value_heads=2, **sizes)
    return LlamaForCausalLM._from_config(config, attn_implementation=attention)


def gpt2(attention: str) -> Any:
    drop = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    config = GPT2Config(vocab_size=VOCABULARY, n_positions=SEQ_LEN, n_embd=32, n_layer=2, n_head=4, **drop)
    return GPT2LMHeadModel._from_config(config, attn_implementation=attention)


def mistral(attention: str) -> Any:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = MistralConfig(vocab_size=VOCABULARY, num_key_value_heads=2, sliding_window=4, **sizes)
    return MistralForCausalLM._from_config(config, attn_implementation=attention)


def corpus() -> tuple[torch.Tensor, np.ndarray]:
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(VOCABULARY, (int(LENGTHS.sum()),), generator=generator, dtype=torch.int32)
    return tokens, np.cumsum(LENGTHS) - LENGTHS


def packed() -> Filled:
    tokens, begins = corpus()
    blocks = best_fit(LENGTHS, SEQ_LEN)
    return fill(blocks, range(len(blocks)), tokens.numpy(), begins)


def alone(model: Any) -> list[torch.Tensor]:
    """The summed loss of every document in a batch of its own."""
    tokens, begins = corpus()
    losses = []
    for begin, size in zip(begins, LENGTHS, strict=True):
        ids = tokens[begin : begin + size].long()[None]
        logits = model(input_ids=ids).logits[0, :-1]
        losses.append(functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
    return losses


def together(model: Any, **inputs: Any) -> torch.Tensor:
    """(B, L) the loss of every position of the packed batch, 0 where it has no target."""
    rows = packed()
    ids, targets = (torch.from_numpy(a).long() for a in (rows.input_ids, rows.targets))
    logits = model(input_ids=ids, **inputs).logits
    return functional.cross_entropy(logits.transpose(1, 2), targets, ignore_index=IGNORE, reduction="none")


def by_document(losses: torch.Tensor) -> list[float]:
    """The packed losses summed by document, in the order of the corpus."""
    blocks, rows = best_fit(LENGTHS, SEQ_LEN), packed()
    found = [0.0] * len(LENGTHS)
    for row in range(len(blocks)):
        pieces = blocks.documents[blocks.offsets[row] : blocks.offsets[row + 1]]
        for segment, document in enumerate(pieces, 1):
            found[document] += float(losses[row][torch.from_numpy(rows.segment_ids[row] == segment)].sum())
    return found


@pytest.mark.parametrize("make", [llama, gpt2, mistral])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_each_document_of_a_packed_batch_has_its_loss_alone(make: Any, attention: str) -> None:
    torch.manual_seed(0)
    model = make(attention).eval()
    positions = torch.from_numpy(packed().position_ids).long()
    assert len(positions) > 3
    assert len(positions) < len(LENGTHS)
    with torch.no_grad():
        wanted = [float(loss) for loss in alone(model)]
        found = by_document(together(model, **document_inputs(positions)))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
        if make is not mistral:  # whose sliding window such a mask replaces
            mask = document_mask(positions, torch.float32)
            found = by_document(together(model, position_ids=positions, attention_mask=mask, use_cache=False))
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_the_gradient_of_a_packed_batch_is_that_of_its_documents(attention: str) -> None:
    torch.manual_seed(1)
    model = llama(attention).train()
    sum(alone(model)).backward()
    wanted = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    positions = torch.from_numpy(packed().position_ids).long()
    together(model, **document_inputs(positions)).sum().backward()
    for parameter, gradient in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("careless", [{"use_cache": True}, {"attention_mask": torch.ones(1, SEQ_LEN)}])
def test_a_cache_or_a_plain_mask_lets_documents_see_each_other(
    attention: str, careless: dict[str, Any]
) -> None:
    """Why `document_inputs` is more than position ids: transformers would say nothing."""
    torch.manual_seed(0)
    model = llama(attention).eval()
    positions = torch.from_numpy(packed().position_ids).long()
    given = document_inputs(positions) | careless
    if given["attention_mask"] is not None:
        given["attention_mask"] = given["attention_mask"].expand(len(positions), -1)
    with torch.no_grad():
        kept = together(model, **document_inputs(positions))
        lost = together(model, **given)
    assert (kept - lost).abs().max() > 1e-3


def test_the_mask_is_causal_within_each_document_by_brute_force() -> None:
    positions = torch.tensor([[0, 1, 2, 0, 1, 0], [0, 0, 1, 2, 0, 0]])
    documents = [[0, 0, 0, 1, 1, 2], [0, 1, 1, 1, 2, 3]]
    wanted = [[[q >= k and row[q] == row[k] for k in range(6)] for q in range(6)] for row in documents]
    mask = document_mask(positions)
    assert mask.shape == (2, 1, 6, 6)
    assert mask[:, 0].tolist() == wanted
    for dtype in (torch.float32, torch.bfloat16):
        added = document_mask(positions, dtype)
        assert added.dtype == dtype
        assert (added[mask] == 0).all()
        assert (added[~mask] == torch.finfo(dtype).min).all()


@pytest.mark.parametrize("make", [llama, gpt2, mistral])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_models_of_transformers_keep_documents_apart(make: Any, attention: str) -> None:
    torch.manual_seed(0)
    model = make(attention).train()
    assert crosses(model, VOCABULARY) is None
    assert model.training


@pytest.mark.parametrize("make", [llama, gpt2, mistral])
def test_a_model_whose_documents_see_each_other_is_found_out(make: Any) -> None:
    torch.manual_seed(0)
    model = make("sdpa")
    plain = model.forward
    model.forward = lambda **given: plain(**given | {"use_cache": True})
    found = crosses(model, VOCABULARY)
    assert found is not None
    assert found > 1e-3


def test_a_model_that_knows_no_documents_is_found_out() -> None:
    class Mean(torch.nn.Module):
        """Each position sees the mean of all that came before."""

        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(VOCABULARY, 8)

        def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
            hidden = self.table(input_ids).cumsum(1) / torch.arange(1, input_ids.shape[1] + 1)[:, None]
            return SimpleNamespace(logits=hidden @ self.table.weight.T)

    torch.manual_seed(0)
    found = crosses(Mean(), VOCABULARY)
    assert found is not None
    assert found > 0.01
