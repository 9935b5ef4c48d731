"""Loads a causal language model from a folder or the hub: safetensors only, no remote code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import nn

from gpu_ops.kernels.head_stats import Head
from gpu_ops.kernels.model_folders import fast_tokenizer
from gpu_ops.kernels.networks import check_vocabulary, longest_input, network_of
from gpu_ops.kernels.tokens import Document, encode, strings

FALLBACK_LOGITS = 1 << 28  # logits that one pass may hold where the head is unknown: 1 GiB of float32

CPU_BUDGET = 4096  # measured: 15 % faster than 16,384 tokens at once, which leave the caches


@dataclass
class CausalLm:
    """A model ready to score.

    tokenizer: a tokenizers.Tokenizer; None where only token ids are scored.
    head: how logits come of hidden states; None where it is none of the ways that `Head` knows, and the
        model's own logits are used. bos: token put in front, if there is one.
    pad: any token of the embedding; padding is never scored. window: longest input in tokens.
    budget: tokens of one forward pass, padding included; an out-of-memory error lowers it.
    """

    model: Any
    tokenizer: Any
    head: Head | None
    bos: int | None
    pad: int
    window: int
    budget: int
    device: str

    def documents(self, texts: pa.Array, max_tokens: int | None) -> list[Document]:
        """The tokens of every text that are scored (see `encode`)."""
        return encode(self.tokenizer, strings(texts), max_tokens, skip_first=self.bos is None)


def load(model: str, device: str, dtype: str = "auto", batch_tokens: int = 16384) -> CausalLm:
    """The model and its tokenizer. FileNotFoundError or ValueError when it cannot be had or used."""
    network, folder = _network(model, device, dtype)
    tokenizer = fast_tokenizer(str(folder), True)
    fast, bos = tokenizer.backend_tokenizer, tokenizer.bos_token_id
    check_vocabulary(model, network, fast, bos)
    check_causal(model, network)
    head = find_head(network)
    config = network.config.get_text_config()
    limit = batch_tokens if head is not None else min(batch_tokens, FALLBACK_LOGITS // config.vocab_size)
    window = min(longest_input(network, network.config), limit)
    budget = limit if device.startswith("cuda") else min(limit, CPU_BUDGET)
    return CausalLm(network, fast, head, bos, 0, window, budget, device)


def load_network(model: str, device: str, dtype: str = "auto") -> Any:
    """The model in evaluation mode, without gradients.

    Raises FileNotFoundError when there is no such model, ValueError when its files are not usable."""
    return _network(model, device, dtype)[0]


def _network(model: str, device: str, dtype: str) -> tuple[Any, Path]:
    from transformers import AutoModelForCausalLM

    network, _, folder = network_of(model, AutoModelForCausalLM, "causal language model", device, dtype)
    return network, folder


@torch.inference_mode()
def check_causal(model: str, network: Any) -> None:
    """ValueError for a model whose logits depend on later tokens (BERT), or are no numbers."""
    rows = network.get_input_embeddings().num_embeddings
    ids = torch.arange(8, device=network.device)[None] % rows
    other = ids.clone()
    other[0, -1] = (ids[0, -1] + 1) % rows
    one, two = (network(input_ids=some, use_cache=False).logits[0, :-1].float() for some in (ids, other))
    if not one.isfinite().all():
        raise ValueError(f"{model}: it gives NaN or infinite logits; its weights are broken")
    if (one - two).abs().max() > _rounding(network) * one.abs().max():
        raise ValueError(
            f"{model}: what it says of a token depends on later ones, so it is no causal language model "
            "(BERT and its kin are not): name one that predicts the next token"
        )


def _rounding(network: Any) -> float:
    """The relative difference that rounding may make."""
    return 1e-5 if network.dtype == torch.float32 else 2e-2


def find_head(network: Any) -> Head | None:
    """How this model turns its base model's hidden states into logits, None where no `Head` does that.

    Tried on a few tokens rather than looked up by the model's name, so that soft caps (Gemma), scales
    (Cohere, Granite) and whatever is invented tomorrow give the model's own logits or None.
    """
    layer = network.get_output_embeddings()
    if not isinstance(layer, nn.Linear) or network.base_model is network:
        return None
    config = network.config.get_text_config()
    scales = [getattr(config, "logit_scale", None), 1 / (getattr(config, "logits_scaling", None) or 1), 1.0]
    cap = getattr(config, "final_logit_softcapping", None)
    ids = torch.arange(8, device=layer.weight.device)[None] % layer.weight.shape[0]
    with torch.inference_mode():
        want = network(input_ids=ids, use_cache=False).logits.float()
        hidden = network.base_model(input_ids=ids, use_cache=False)[0]
        if hidden.shape[-1] != layer.weight.shape[1]:
            return None
        rtol = _rounding(network)
        for scale in filter(None, scales):
            got = layer(hidden).float() * scale
            got = got if cap is None else cap * torch.tanh(got / cap)
            if torch.allclose(got, want, rtol=rtol, atol=rtol * float(want.abs().max())):
                return Head(layer.weight, layer.bias, float(scale), cap)
    return None
