"""Loads networks of transformers from a folder or the hub: whole, safetensors only, no remote code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from gpu_ops.kernels.model_folders import check_name, folder_of, unusable

DEFAULT_CONTEXT = 2048  # for models whose config names no longest position (state-space models)
# How configs call the longest input.
_CONTEXT = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length")


def config_of(model: str, folder: Path, kind: str) -> Any:
    """The config in a folder. kind: what the model should be, for messages."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise unusable(model, check_name(model), kind, error) from error


def network_of(model: str, auto: Any, kind: str, device: str, dtype: str) -> tuple[Any, Any, Path]:
    """(the network in evaluation mode and without gradients, its config, its folder).

    auto: the class of transformers that loads it; kind: what it should be, for messages.
    FileNotFoundError when there is no such model; ValueError when its files are not usable, also where
    weights are missing: transformers would draw them at random.
    """
    from safetensors import SafetensorError
    from transformers.utils import logging

    folder = folder_of(model, kind)
    config = config_of(model, folder, kind)
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # missing weights are an error below
    try:
        network, info = auto.from_pretrained(
            str(folder),
            config=config,
            dtype=resolve_dtype(dtype, device, config),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise unusable(model, check_name(model), kind, error) from error
    finally:
        logging.set_verbosity(verbosity)
    heads = kind == "sequence classifier"  # others do without what only pools
    missing = sorted(name for name in info["missing_keys"] if heads or "pooler" not in name)
    if missing:
        raise ValueError(
            f"{model}: its weights lack {', '.join(missing[:4])}{', ...' if len(missing) > 4 else ''}, so it "
            f"is no trained {kind}: it would give random numbers. Train it first, or name another model"
        )
    return network.to(device).eval().requires_grad_(False), config, folder


def resolve_dtype(dtype: str, device: str, config: Any) -> torch.dtype:
    """`auto` is float32; on a GPU that has it, bfloat16 for weights stored in 16 bits."""
    if dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    if device.startswith("cuda") and torch.cuda.is_bf16_supported():
        stored = str(config.get_text_config().dtype or config.dtype).removeprefix("torch.")
        return torch.bfloat16 if stored in ("bfloat16", "float16") else torch.float32
    return torch.float32


def longest_input(network: nn.Module, config: Any) -> int:
    """Tokens. RoBERTa and its kin count positions from the padding token's number on. Where positions are
    scaled by the longest input of a batch (longrope), the length up to which they are not: beyond it a
    text's numbers would depend on its neighbours."""
    text = config.get_text_config()
    most = next((int(n) for name in _CONTEXT if (n := getattr(text, name, None))), DEFAULT_CONTEXT)
    rope = getattr(text, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        scaled_from = rope.get("original_max_position_embeddings")
        scaled_from = scaled_from or getattr(text, "original_max_position_embeddings", None)
        most = min(most, int(scaled_from or most))
    for name, part in network.named_modules():
        padding = getattr(part, "padding_idx", None)
        if name.endswith("position_embeddings") and isinstance(padding, int):
            return most - padding - 1
    return most


def check_vocabulary(model: str, network: Any, tokenizer: Any, *tokens: int | None) -> None:
    """ValueError when the tokenizer has tokens that the model's embedding has not; `tokens`: special ones
    that will be used."""
    rows = network.get_input_embeddings().num_embeddings
    most = max([tokenizer.get_vocab_size(with_added_tokens=False) - 1, *(t for t in tokens if t is not None)])
    if most >= rows:
        raise ValueError(
            f"{model}: its tokenizer has the token {most}, but its embedding only {rows} rows: the tokenizer "
            "is of another model, or the embedding was not resized with it"
        )
