"""Checkpoints that are there whole or not at all: safetensors for tensors, JSON for the rest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import numpy as numpy_files
from safetensors.torch import load_file, save_file
from torch import nn

from gpu_ops.trainer.files import write_json

Arrays = Mapping[str, npt.NDArray[Any]]


def save(
    folder: Path,
    step: int,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: Any,
    arrays: Arrays | None = None,
) -> None:
    """Writes `folder/step-N`, then removes the ones before. `state` is what JSON can hold, `arrays` the rest.

    There is no random state to save: whatever is random in a step is a function of (seed, step)."""
    partial = folder / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    weights = {name: p.detach().contiguous() for name, p in network.named_parameters() if p.requires_grad}
    moments = {
        f"{index}.{name}": tensor.contiguous()
        for index, tensors in optimizer.state_dict()["state"].items()
        for name, tensor in tensors.items()
    }
    save_file(weights, partial / "model.safetensors")
    save_file(moments, partial / "optimizer.safetensors")
    whole = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    numpy_files.save_file(whole, partial / "arrays.safetensors")
    write_json(partial / "state.json", state)
    final = folder / f"step-{step:09d}"
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    for old in steps(folder):
        if old != final:
            shutil.rmtree(old)


def steps(folder: Path) -> list[Path]:
    """The whole checkpoints, oldest first."""
    return sorted(folder.glob("step-*"))


def read_state(folder: Path) -> Any | None:
    """The newest checkpoint's `state`, or None."""
    found = steps(folder)
    return json.loads((found[-1] / "state.json").read_text("utf-8")) if found else None


def restore(folder: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> Arrays:
    """Puts the newest checkpoint's weights and moments in place; returns its arrays."""
    path = steps(folder)[-1]
    weights = load_file(path / "model.safetensors")
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:  # what is frozen is as it was at step 0
                parameter.copy_(weights[name])
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in load_file(path / "optimizer.safetensors").items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return numpy_files.load_file(path / "arrays.safetensors")
