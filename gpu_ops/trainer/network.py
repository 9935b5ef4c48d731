"""The model that is trained, and its size and cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gpu_ops.kernels.causal_lm import load_network
from gpu_ops.kernels.document_mask import crosses
from gpu_ops.trainer.classifier import Mlp, build_classifier, llama_config
from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.config_parts import LlamaShape, Unfit
from gpu_ops.trainer.joint import TwoHeads, with_language_head
from gpu_ops.trainer.precision import weights_dtype
from gpu_ops.trainer.tuning import tuned


def build(
    config: TrainConfig, vocab: int, seed: int, device: str, classes: Sequence[str] = (), steps: int = 0
) -> Any:
    """The model at step 0, in float32 or float64: the checkpoint, or fresh weights drawn from the seed.
    classes: of a classifier. steps: of the run, by which AdaLoRA deals out its ranks.

    ValueError when the checkpoint's context is shorter than `seq_len` or its vocabulary too small."""
    if config.init is not None and not Path(config.init).is_dir():
        raise FileNotFoundError(f"init: no checkpoint folder {config.init!r}")
    if config.objective == "classification":
        network = build_classifier(config, classes, vocab, seed)
        if config.joint:
            network = with_language_head(network, config, vocab, seed)
    else:
        network = _language_model(config, vocab, seed)
    whole = network if isinstance(network, Mlp) else tuned(network, config, seed, steps)
    if config.activation_checkpointing:
        _checkpoint_activations(network)  # after peft, which would also ask for gradients of the inputs
    whole = whole.to(device, weights_dtype(config))
    if config.boundaries == "keep":
        _check_boundaries(whole, vocab)
    return whole


def _language_model(config: TrainConfig, vocab: int, seed: int) -> Any:
    if config.init is None:
        assert isinstance(config.model, LlamaShape)  # TrainConfig sees to it
        network = from_shape(config.model, vocab, config.seq_len, seed)
    else:
        network = load_network(config.init, "cpu", "float32").requires_grad_(True)
    text = network.config.get_text_config()
    if text.vocab_size < vocab:
        raise Unfit(f"the model knows {text.vocab_size} tokens, the tokenizer has {vocab}")
    context = getattr(text, "max_position_embeddings", None)
    if context is not None and context < config.seq_len:
        raise Unfit(f"seq_len {config.seq_len} is longer than the model's context, {context}; lower seq_len")
    asked = 0 if config.probe is None else config.probe.prompt + config.probe.continuation
    if context is not None and context < asked:
        raise Unfit(f"probe: its {asked} tokens are more than the model's context, {context}")
    return network


def _check_boundaries(network: Any, vocab: int) -> None:
    """ValueError for a model whose attention crosses documents whatever it is told."""
    change = crosses(network, vocab)
    if change is not None:
        raise Unfit(
            f"boundaries: keep, but what {type(network).__name__} says of a document depends on the one "
            f"before it (logits change by {change:.1e} of the largest); take boundaries: cross"
        )


def _checkpoint_activations(network: Any) -> None:
    """transformers changed the name of what turns it on."""
    network = network.classifier if isinstance(network, TwoHeads) else network  # with the body of both
    if not network.supports_gradient_checkpointing:
        raise Unfit(f"{type(network).__name__} has no activation checkpointing; leave it out")
    enable = getattr(network, "activation_checkpointing_enable", None)
    (enable or network.gradient_checkpointing_enable)({"use_reentrant": False})


def from_shape(shape: LlamaShape, vocab: int, seq_len: int, seed: int) -> Any:
    """A LlamaForCausalLM with normal weights (standard deviation 0.02), a pure function of the seed."""
    from transformers import LlamaForCausalLM

    config = llama_config(shape, vocab, seq_len)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def parameters(network: nn.Module) -> int:
    """Number of parameters; a tied matrix counts once."""
    return sum(parameter.numel() for parameter in network.parameters())


def trained_parameters(network: nn.Module) -> int:
    """Number of those that learn."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def model_bytes(network: nn.Module) -> int:
    """Bytes of the parameters as they lie in memory and on disk."""
    return sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())


def bytes_by_dtype(network: nn.Module) -> dict[str, int]:
    """Bytes of the parameters by their type."""
    found: dict[str, int] = {}
    for parameter in network.parameters():
        name = str(parameter.dtype).removeprefix("torch.")
        found[name] = found.get(name, 0) + parameter.numel() * parameter.element_size()
    return found


def flops_per_token(network: Any, seq_len: int) -> int:
    """Floating-point operations to train on one token where all is trained (else `flops.cost`): 6 N +
    12 L d T (Chowdhery et al. 2022, PaLM, appendix B), with full, not causal, attention.

    N: the entries of all matrices that are multiplied: no norms, no embedding look-ups, but the
    output layer, also where it is tied to the embedding. L layers, d width of all heads, T tokens. What a
    classifier does once a row is shared among the row's tokens; of vectors, a row is a token.
    """
    if isinstance(network, Mlp):
        return 6 * sum(parameter.numel() for parameter in network.parameters() if parameter.ndim >= 2)
    network = network.classifier if isinstance(network, TwoHeads) else network
    text = network.config.get_text_config()
    looked_up = sum(m.weight.numel() for m in network.modules() if isinstance(m, nn.Embedding))
    matrices = sum(parameter.numel() for parameter in network.parameters() if parameter.ndim >= 2)
    head = network.get_output_embeddings()
    tied = head is not None and head.weight is network.get_input_embeddings().weight
    multiplied = matrices - looked_up + (head.weight.numel() if tied else 0)
    if head is None:
        multiplied -= _once(network) * (seq_len - 1) / seq_len
    heads = text.num_attention_heads
    width = heads * (getattr(text, "head_dim", None) or text.hidden_size // heads)
    return round(6 * multiplied) + 12 * int(text.num_hidden_layers) * int(width) * seq_len


def _once(network: Any) -> int:
    """The entries of a classifier's matrices that see one vector of a row: its head and pooling layer, but
    not a head that scores every token before the last one's is taken."""
    body = f"{network.base_model_prefix}."
    return sum(
        parameter.numel()
        for name, parameter in network.named_parameters()
        if parameter.ndim >= 2
        and (".pooler." in name or not name.startswith(body))
        and not name.startswith("score.")
    )


def head_flops(network: Any, learning: bool) -> int:
    """What the output layer costs a token: forward, and when learning also backward, with its own gradient
    where it is trained."""
    head = network.get_output_embeddings()
    if head is None:
        return 0
    passes = 1 + (1 + head.weight.requires_grad if learning else 0)
    return 2 * passes * int(head.weight.numel())
