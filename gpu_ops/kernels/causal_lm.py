"""Loads a causal language model from a folder or the hub: safetensors only, no remote code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gpu_ops.kernels.head_stats import Head

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
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
    from transformers import AutoTokenizer

    network = load_network(model, device, dtype)
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=Path(model).is_dir())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{model}: its tokenizer does not load (a tokenizer.json is needed): {error}"
        ) from error
    if not tokenizer.is_fast:
        raise ValueError(f"{model}: it has no fast tokenizer (tokenizer.json); save one with the model")
    fast = tokenizer.backend_tokenizer
    fast.no_truncation()
    fast.no_padding()
    head = find_head(network)
    config = network.config.get_text_config()
    limit = batch_tokens if head is not None else min(batch_tokens, FALLBACK_LOGITS // config.vocab_size)
    window = min(getattr(config, "max_position_embeddings", None) or DEFAULT_CONTEXT, limit)
    budget = limit if device.startswith("cuda") else min(limit, CPU_BUDGET)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    return CausalLm(network, fast, head, tokenizer.bos_token_id, pad, window, budget, device)


def load_network(model: str, device: str, dtype: str = "auto") -> Any:
    """The model in evaluation mode, without gradients.

    Raises FileNotFoundError when there is no such model, ValueError when its files are not usable."""
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    is_folder = Path(model).is_dir()
    if not is_folder and not HUB_NAME.fullmatch(model):
        raise FileNotFoundError(
            f"no model folder {model!r}; name a folder with config.json, *.safetensors and tokenizer.json "
            "(relative to the config file), or a hub name such as 'org/model'"
        )
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
        raise _unusable(model, is_folder, error) from error
    return network.to(device).eval().requires_grad_(False)


def _unusable(model: str, is_folder: bool, error: Exception) -> Exception:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if is_folder:
        have = ", ".join(sorted(path.name for path in Path(model).iterdir())[:12]) or "nothing"
        return ValueError(
            f"model folder {model!r} does not load: {reason} It holds {have}; needed are config.json of a "
            "causal language model that transformers knows, and *.safetensors weights"
        )
    return FileNotFoundError(
        f"{model!r} is no folder here and no causal language model that the hub gave: {reason} "
        "Check the name, or download the model and name its folder"
    )


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
