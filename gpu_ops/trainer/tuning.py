"""What of a model is trained: all of it, some of its own weights, or an adapter of peft."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.config_parts import LastLayers, Unfit

Arrays = Mapping[str, npt.NDArray[Any]]
RANKS = "peft."  # before the names of what AdaLoRA learned about ranks
_LEARNED = ("ipt", "exp_avg_ipt", "exp_avg_unc")


def tuned(network: Any, config: TrainConfig, seed: int, steps: int = 0) -> Any:
    """The network with what the config trains, the rest frozen; with `peft` its wrapped form. steps: of the
    run.

    ValueError for names or layers that the model does not have and configurations that peft refuses,
    ModuleNotFoundError without peft."""
    if config.peft is not None:
        return _adapted(network, config, seed, steps)
    if config.trainable != "all":
        chosen = _chosen(network, config.trainable)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name in chosen)
    return network


def _chosen(network: Any, trainable: Any) -> set[str]:
    """Names of the weights that are trained."""
    names = [name for name, _ in network.named_parameters()]
    if trainable == "bias":
        # Ben Zaken et al. 2022, section 3: the biases, and the layer of the task where there is a new one.
        found = {n for n in names if n.rpartition(".")[2] == "bias"}
        if not found:
            raise Unfit("trainable: bias (BitFit), but the model has no biases; take peft or last layers")
        return found | _task_head(network, names)
    if isinstance(trainable, LastLayers):
        return _last(network, trainable.last, names) | _task_head(network, names)
    chosen: set[str] = set()
    for pattern in trainable:
        found = {name for name in names if re.search(pattern, name)}
        if not found:
            some = ", ".join(names[:: max(1, len(names) // 6)])
            raise Unfit(f"trainable: no weight's name has {pattern!r} in it; names are like {some}")
        chosen |= found
    return chosen


def _task_head(network: Any, names: Sequence[str]) -> set[str]:
    """What a classifier has on top of its base model."""
    if network.get_output_embeddings() is not None:
        return set()
    prefix = f"{network.base_model_prefix}."
    return {name for name in names if not name.startswith(prefix)}


def _last(network: Any, layers: int, names: Sequence[str]) -> set[str]:
    """The weights of the last blocks and all that is registered after them: the last norm, and the output
    layer where it is not tied to the embedding."""
    count = network.config.get_text_config().num_hidden_layers
    blocks = [n for n, m in network.named_modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not blocks or layers > count:
        raise Unfit(f"trainable: last: {layers}, but the model has {count if blocks else 'no'} layers")
    first = f"{blocks[0]}.{count - layers}."
    begin = next(i for i, name in enumerate(names) if name.startswith(first))
    return set(names[begin:])


def _adapted(network: Any, config: TrainConfig, seed: int, steps: int) -> Any:
    try:
        import peft
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("peft: the package is not installed; pip install 'tamis[peft]'") from error
    assert config.peft is not None
    classifies = network.get_output_embeddings() is None
    fields = {"task_type": "SEQ_CLS" if classifies else "CAUSAL_LM", **config.peft}
    if fields["peft_type"] == "ADALORA":
        fields = {"total_step": steps, **fields}
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # peft asks transformers under names that the latter is about to drop.
            warnings.filterwarnings("ignore", ".*gradient_checkpointing", FutureWarning)
            torch.manual_seed(seed)
            adapted = peft.get_peft_model(network, peft.get_peft_config(fields))
    except (KeyError, TypeError, ValueError) as error:
        raise Unfit(f"peft: {config.peft} is no configuration that peft takes: {error!r}") from error
    if config.merge and adapted.active_peft_config.is_prompt_learning:
        raise Unfit(f"merge: a prompt ({fields['peft_type']}) has no weights to merge into the model's")
    if config.boundaries == "keep" and adapted.active_peft_config.is_prompt_learning:
        raise Unfit("boundaries: keep, but a prompt in front of a sequence is in none of its documents")
    return adapted


def is_adapted(network: Any) -> bool:
    """Whether peft wraps the network."""
    return hasattr(network, "peft_config")


def is_prompted(network: Any) -> bool:
    """Whether learned vectors stand before the inputs, so that the output layer sees all places."""
    config = network.active_peft_config if is_adapted(network) else None
    return config is not None and config.is_prompt_learning and config.peft_type != "PREFIX_TUNING"


def _allocator(network: Any) -> Any | None:
    """Of AdaLoRA, None for everything else."""
    return getattr(network.base_model, "rankallocator", None) if is_adapted(network) else None


def penalty(network: Any) -> torch.Tensor | None:
    """What AdaLoRA (Zhang et al. 2023, https://arxiv.org/abs/2303.10512, eq. 4) adds to a step's loss: how
    far its factors are from orthogonal. peft adds it only to losses that it computes itself."""
    if _allocator(network) is None:
        return None
    weight = network.active_peft_config.orth_reg_weight
    found = []
    for name, factor in network.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            product = factor @ factor.T if "lora_A" in name else factor.T @ factor
            found.append(torch.linalg.norm(product - torch.eye(len(product)).to(product)))
    return weight * torch.stack(found).mean()


def after_step(network: Any, step: int) -> None:
    """Between a step of the optimizer and the end of its gradients: AdaLoRA deals out its ranks."""
    if _allocator(network) is not None:
        network.base_model.update_and_allocate(step)


def state(network: Any) -> dict[str, npt.NDArray[Any]]:
    """What a checkpoint keeps beside weights: AdaLoRA's importances and which ranks are left."""
    allocator = _allocator(network)
    if allocator is None:
        return {}
    kept = {
        f"{RANKS}{kind}.{name}": tensor.numpy(force=True)
        for kind in _LEARNED
        for name, tensor in getattr(allocator, kind).items()
    }
    ranks = network.active_peft_config.rank_pattern or {}
    return kept | {f"{RANKS}ranks.{name}": np.array(left, np.bool_) for name, left in ranks.items()}


def restore(network: Any, arrays: Arrays) -> None:
    """Goes on from `state`, which may be among other arrays."""
    allocator = _allocator(network)
    if allocator is None:
        return
    device = next(network.parameters()).device
    ranks: dict[str, list[bool]] = {}
    for key, array in arrays.items():
        if key.startswith(RANKS):
            kind, _, name = key.removeprefix(RANKS).partition(".")
            if kind == "ranks":
                ranks[name] = array.tolist()
            else:
                getattr(allocator, kind)[name] = torch.from_numpy(array).to(device)
    if ranks:
        network.active_peft_config.rank_pattern = ranks
