"""Loads a causal language model from a folder or the hub: safetensors only, no remote code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gpu_ops.kernels.head_stats import Head
from gpu_ops.kernels.model_folders import check_name, fast_tokenizer, unusable

DEFAULT_CONTEXT = 2048  # for models whose config names no longest position (state-space models)
FALLBACK_LOGITS = 1 << 28  # logits that one pass may hold where the head is unknown: 1 GiB of float32

CPU_BUDGET = 4096  # measured: 15 % faster than 16,384 tokens at once, which leave the caches


@dataclass
class CausalLm:
    """A model ready to score.

    tokenizer: a tokenizers.Tokenizer; None where only token ids are scored.
    head: how logits come of hidden states; None where it is none of the ways that `Head` knows, and the
        model's own logits are used. bos: token put in front, if there is one.
    pad: any valid token; padding is never scored. window: longest input in tokens.
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


def load(model: str, device: str, dtype: str = "auto", batch_tokens: int = 16384) -> CausalLm:
    """The model and its tokenizer. FileNotFoundError or ValueError when it cannot be had or used."""
    network = load_network(model, device, dtype)
    tokenizer = fast_tokenizer(model, Path(model).is_dir())
    head = find_head(network)
    config = network.config.get_text_config()
    limit = batch_tokens if head is not None else min(batch_tokens, FALLBACK_LOGITS // config.vocab_size)
    window = min(getattr(config, "max_position_embeddings", None) or DEFAULT_CONTEXT, limit)
    budget = limit if device.startswith("cuda") else min(limit, CPU_BUDGET)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    return CausalLm(
        network, tokenizer.backend_tokenizer, head, tokenizer.bos_token_id, pad, window, budget, device
    )


def load_network(model: str, device: str, dtype: str = "auto") -> Any:
    """The model in evaluation mode, without gradients.

    Raises FileNotFoundError when there is no such model, ValueError when its files are not usable."""
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    is_folder = check_name(model)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        config = AutoConfig.from_pretrained(model, local_files_only=is_folder, trust_remote_code=False)
        network: Any = AutoModelForCausalLM.from_pretrained(
            model,
            config=config,
            dtype=resolve_dtype(dtype, device, config),
            local_files_only=is_folder,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError) as error:
        raise unusable(model, is_folder, "causal language model", error) from error
    return network.to(device).eval().requires_grad_(False)


def resolve_dtype(dtype: str, device: str, config: Any) -> torch.dtype:
    """`auto` is float32; on a GPU that has it, bfloat16 for weights stored in 16 bits."""
    if dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    if device.startswith("cuda") and torch.cuda.is_bf16_supported():
        stored = str(config.get_text_config().dtype or config.dtype).removeprefix("torch.")
        return torch.bfloat16 if stored in ("bfloat16", "float16") else torch.float32
    return torch.float32


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
        rtol = 1e-5 if hidden.dtype == torch.float32 else 2e-2
        for scale in filter(None, scales):
            got = layer(hidden).float() * scale
            got = got if cap is None else cap * torch.tanh(got / cap)
            if torch.allclose(got, want, rtol=rtol, atol=rtol * float(want.abs().max())):
                return Head(layer.weight, layer.bias, float(scale), cap)
    return None
