"""Checkpoints that are there whole or not at all: safetensors for tensors, JSON for the rest."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import numpy as numpy_files
from safetensors import safe_open
from torch import nn

from gpu_ops.trainer.files import sync, write_json
from gpu_ops.trainer.world import Alone, World

Arrays = Mapping[str, npt.NDArray[Any]]
PARTIAL, REMOVED = ".partial", ".removed"  # of the one that is being written, and of the one that goes
WEIGHTS, MOMENTS = "model.", "optimizer."


def save(
    folder: Path,
    step: int,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: Any,
    arrays: Arrays | None = None,
    world: World | None = None,
    kept: int = 1,
) -> None:
    """Writes `folder/step-N`, then removes all but the newest `kept`. `state` is what JSON can hold, `arrays`
    the rest. To be called by all processes, of which the first one writes what all of them know.

    There is no random state to save: whatever is random in a step is a function of (seed, step). Nor are
    settings of the optimizer: they come from the config. A new one counts once it is on the disk and has its
    name, so that a kill, a loss of power or a full disk leave the ones before.

    Raises OSError when it cannot be written."""
    world = world or Alone()
    partial = folder / PARTIAL
    try:
        if world.first:
            shutil.rmtree(partial, ignore_errors=True)
            (partial / "tensors").mkdir(parents=True)
        world.wait()
        world.save(_tensors(network, optimizer), partial / "tensors")
        world.wait()
        if world.first:
            _finish(folder, step, state, arrays or {}, kept)
    except Exception as error:
        shutil.rmtree(partial, ignore_errors=True)
        code = getattr(error, "errno", None) or errno.EIO
        what = (
            f"the checkpoint of step {step} could not be written ({error}); the one before it is whole: the "
            "same run goes on from there once this is mended"
        )
        raise OSError(code, what, str(folder)) from error
    world.wait()


def _finish(folder: Path, step: int, state: Any, arrays: Arrays, kept: int) -> None:
    """What all processes know, and the name that makes it count."""
    partial, final = folder / PARTIAL, folder / f"step-{step:09d}"
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    numpy_files.save_file(whole, partial / "arrays.safetensors")
    write_json(partial / "state.json", state)
    sync(partial)
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    sync(folder, deep=False)
    for old in steps(folder)[:-kept]:
        shutil.rmtree(old.rename(folder / REMOVED))


def steps(folder: Path) -> list[Path]:
    """The whole checkpoints, oldest first."""
    return sorted(folder.glob("step-*"))


def clean(folder: Path) -> None:
    """Removes what a kill left half-written or half-removed."""
    for name in (PARTIAL, REMOVED):
        shutil.rmtree(folder / name, ignore_errors=True)


def read_state(folder: Path) -> Any | None:
    """The newest checkpoint's `state`, or None."""
    found = steps(folder)
    return json.loads((found[-1] / "state.json").read_text("utf-8")) if found else None


def restore(
    folder: Path, network: nn.Module, optimizer: torch.optim.Optimizer, world: World | None = None
) -> Arrays:
    """Puts the newest checkpoint's weights and moments in place, also those of another number of processes;
    returns its arrays."""
    path = steps(folder)[-1]
    _make_moments(optimizer)
    stored: set[str] = set()
    for file in (path / "tensors").glob("*.safetensors"):
        with safe_open(file, "pt") as tensors:
            stored |= set(tensors.keys())
    wanted = _tensors(network, optimizer).items()
    world = world or Alone()
    world.load({n: t for n, t in wanted if n in stored or n.startswith(WEIGHTS)}, path / "tensors")
    for index, parameter in enumerate(_parameters(optimizer)):
        # One that never had a gradient has no moments.
        if not any(name.startswith(f"{MOMENTS}{index}.") for name in stored):
            optimizer.state.pop(parameter, None)
    return numpy_files.load_file(path / "arrays.safetensors")


def _tensors(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Trained weights by name (the others are as at step 0), moments by the number of their parameter."""
    found = {f"{WEIGHTS}{name}": p for name, p in network.named_parameters() if p.requires_grad}
    moments = {
        f"{MOMENTS}{index}.{name}": tensor
        for index, parameter in enumerate(_parameters(optimizer))
        for name, tensor in optimizer.state.get(parameter, {}).items()
    }
    return {**found, **moments}


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _make_moments(optimizer: torch.optim.Optimizer) -> None:
    """A step that changes no weight makes the tensors to read into, of whatever shape and place this
    optimizer wants."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for parameter in _parameters(optimizer):
        parameter.grad = torch.zeros_like(parameter)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step()
    optimizer.zero_grad()
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
