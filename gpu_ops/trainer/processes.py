"""Several processes that train one model: each with a copy of its weights, or each with a part of them."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed

from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.config_parts import Parallel
from gpu_ops.trainer.world import Floats, Tensors, World, load_any, save_whole


def join(rank: int, size: int, meeting: str, timeout_s: float, device: str) -> None:
    """Enters the group of processes. meeting: a URL as torch.distributed knows them, "env://" for
    MASTER_ADDR and MASTER_PORT. What lies on the CPU is exchanged by gloo, what lies on GPUs by nccl."""
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    distributed.init_process_group(
        backend, init_method=meeting, rank=rank, world_size=size, timeout=timedelta(seconds=timeout_s)
    )


class Copies(World):
    """Every process has all weights; DistributedDataParallel adds their gradients up (Li et al. 2020, VLDB,
    https://arxiv.org/abs/2006.15704). Needs a group (see `join`)."""

    def __init__(self, device: str) -> None:
        self.rank, self.size, self.device = distributed.get_rank(), distributed.get_world_size(), device

    def wrap(self, network: Any) -> Any:
        from torch.nn.parallel import DistributedDataParallel

        settings: dict[str, Any] = {}
        if self.device.startswith("cuda"):
            settings["device_ids"] = [torch.device(self.device)]
        # Buffers are functions of the config. torch 2.13 calls the setting otherwise.
        known = inspect.signature(DistributedDataParallel).parameters
        settings["forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"] = False
        return DistributedDataParallel(network, **settings)

    def any(self, value: bool) -> bool:
        return self.total(float(value)) > 0

    def total(self, value: float) -> float:
        number = torch.tensor(value, dtype=torch.float64)
        distributed.all_reduce(number)
        return float(number)

    def joined(self, values: Floats, rows: int) -> Floats:
        parts = [torch.empty(values.shape, dtype=torch.float64) for _ in range(self.size)]
        distributed.all_gather(parts, torch.from_numpy(np.ascontiguousarray(values, np.float64)))
        counts = np.diff(self._starts(rows)).tolist()
        return np.concatenate([part.numpy()[:n] for part, n in zip(parts, counts, strict=True)])

    def backward(self, model: Any, last: bool) -> AbstractContextManager[object]:
        return nullcontext() if last else model.no_sync()

    def whole(self, network: Any) -> AbstractContextManager[object]:
        return nullcontext()

    def gathered(self, network: Any) -> dict[str, torch.Tensor] | None:
        return None

    def save(self, tensors: Tensors, folder: Path) -> None:
        if self.first:
            save_whole(tensors, folder)

    def load(self, tensors: Tensors, folder: Path) -> None:
        load_any(tensors, folder)

    def wait(self) -> None:
        self.total(0.0)


class Parts(Copies):
    """Every process has a part of each weight, of its gradient and of the optimizer's state; whole blocks are
    gathered when they compute (Zhao et al. 2023, PyTorch FSDP, https://arxiv.org/abs/2304.11277, in its
    second form, `fully_shard`).

    With bfloat16 or float16 the blocks are gathered and computed in that, gradients are added up in float32;
    then the evaluation, too, is in 16 bits. Everyone evaluates everything, as it takes all processes."""

    def __init__(self, device: str, products: torch.dtype | None, offload: bool) -> None:
        super().__init__(device)
        self.products, self.offload = products, offload

    def wrap(self, network: Any) -> Any:
        from torch.distributed import fsdp
        from torch.distributed.device_mesh import init_device_mesh

        policy = fsdp.MixedPrecisionPolicy()
        if self.products is not None:
            policy = fsdp.MixedPrecisionPolicy(param_dtype=self.products, reduce_dtype=torch.float32)
        options: dict[str, Any] = {"mp_policy": policy}
        options["mesh"] = init_device_mesh(self.device.partition(":")[0], (self.size,))
        if self.offload and self.device.startswith("cuda"):
            options["offload_policy"] = fsdp.CPUOffloadPolicy()
        for block in blocks(network):
            fsdp.fully_shard(block, **options)
        return fsdp.fully_shard(network, **options)

    @contextmanager
    def backward(self, model: Any, last: bool) -> Iterator[None]:
        model.set_requires_gradient_sync(last)
        yield

    @contextmanager
    def whole(self, network: Any) -> Iterator[None]:
        # The blocks gather themselves when they are called; what is outside of them, such as the embeddings
        # and the output layer, is with the root, which is not called itself.
        with torch.no_grad():
            network.unshard()
            yield
            network.reshard()

    def gathered(self, network: Any) -> dict[str, torch.Tensor] | None:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        found: dict[str, Any] = get_model_state_dict(network, options=options)
        # A tied matrix has come under each of its names.
        every = {name for name, _ in network.named_parameters(remove_duplicate=False)}
        again = every - {name for name, _ in network.named_parameters()}
        return {name: tensor for name, tensor in found.items() if name not in again}

    def save(self, tensors: Tensors, folder: Path) -> None:
        from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
        from torch.distributed.checkpoint.state_dict_saver import save

        writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
        save({name: tensor.detach() for name, tensor in tensors.items()}, storage_writer=writer)


def blocks(network: Any) -> list[torch.nn.Module]:
    """Transformer blocks: what the model says is not to be torn apart, else its longest list of layers."""
    names = set(getattr(network, "_no_split_modules", None) or ())
    found = [module for module in network.modules() if type(module).__name__ in names]
    if found:
        return found
    lists = [list(module) for module in network.modules() if isinstance(module, torch.nn.ModuleList)]
    return max(lists, key=len, default=[])


def world_of(config: TrainConfig, device: str) -> World:
    """The world of this process, which has joined the others."""
    parallel = config.parallel or Parallel()
    if parallel.kind == "fsdp":
        return Parts(device, _products(config, device), parallel.cpu_offload)
    return Copies(device)


def _products(config: TrainConfig, device: str) -> torch.dtype | None:
    """What matrix products are made in, where not in the weights' own numbers."""
    auto = device.startswith("cuda") and torch.cuda.is_bf16_supported()
    if config.dtype == "bfloat16" or (config.dtype == "auto" and auto):
        return torch.bfloat16
    return None


def placed(device: str) -> str:
    """The device of this process, whose place on its machine is in LOCAL_RANK."""
    from gpu_ops.trainer.pool import resolve_device

    number = int(os.environ.get("LOCAL_RANK", "0"))
    return resolve_device("auto" if device == "cuda" else device, number)
