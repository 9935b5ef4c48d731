"""In which numbers weights are kept and products made, and how losses in float16 are scaled."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from gpu_ops.trainer.config import TrainConfig

LEAST_SCALE = 2.0**-24  # below it float16 holds no gradient of a usable size


class Precision:
    """Weights are float64 where that is asked for, else float32. For bfloat16 and float16 only the products
    that torch's autocast chooses are made in them; in float16 the loss is scaled (Micikevicius et al. 2018,
    https://arxiv.org/abs/1710.03740) by torch's GradScaler: a step whose gradients overflow is left out and
    the scale halved, after 2,000 good ones it doubles."""

    def __init__(self, config: TrainConfig, device: str) -> None:
        self._kind = device.partition(":")[0]
        on_gpu = self._kind == "cuda"
        auto = "bfloat16" if on_gpu and torch.cuda.is_bf16_supported() else "float32"
        self.name = auto if config.dtype == "auto" else config.dtype
        self.scaler = torch.amp.GradScaler(self._kind, enabled=self.name == "float16")

    def products(self) -> AbstractContextManager[object]:
        """Around a forward pass."""
        if self.name in ("float32", "float64"):
            return nullcontext()
        return torch.autocast(self._kind, getattr(torch, self.name))

    def backward(self, loss: torch.Tensor) -> None:
        """Gradients of the scaled loss."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, model: Any, optimizer: torch.optim.Optimizer, clip: float) -> dict[str, float | None]:
        """Clips what was gathered and applies it, unless it overflowed. Returns figures for the log.

        FloatingPointError when even the smallest scale overflows."""
        self.scaler.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip).item()
        self.scaler.step(optimizer)
        self.scaler.update()
        if not self.scaler.is_enabled():
            return {"gradient_norm": norm}
        scale = self.scaler.get_scale()
        if scale < LEAST_SCALE:
            raise FloatingPointError(
                f"gradients overflow float16 at every scale down to {scale:g}: take bfloat16 or float32"
            )
        finite = math.isfinite(norm)
        return {"gradient_norm": norm if finite else None, "loss_scale": scale, "skipped": float(not finite)}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: the scale and how long it has held; nothing where nothing is scaled."""
        return self.scaler.state_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from `state`."""
        if state:
            self.scaler.load_state_dict(state)


def weights_dtype(config: TrainConfig) -> torch.dtype:
    """Of the weights: float32, also where products are made in 16 bits."""
    return torch.float64 if config.dtype == "float64" else torch.float32


def wide(logits: torch.Tensor) -> torch.Tensor:
    """Logits in which a loss can be summed: at least float32."""
    return logits if logits.dtype == torch.float64 else logits.float()
