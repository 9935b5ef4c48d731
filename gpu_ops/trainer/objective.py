"""What a model is trained to do: losses by row to learn from, scores by row to choose by, an evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from gpu_ops.trainer.batch import IGNORED, Batch
from gpu_ops.trainer.evaluate import HeldOut, evaluate
from gpu_ops.trainer.precision import wide


class Objective(ABC):
    """A training objective. Sums are over the targets of a row, so that whoever adds rows up can weigh every
    target alike; a row's mean is its sum by `Batch.learned`."""

    @abstractmethod
    def losses(self, model: Any, batch: Batch, device: str) -> torch.Tensor:
        """(R,) summed loss, at least float32, of every row, to be learned from."""

    @abstractmethod
    def scores(self, model: Any, batch: Batch, device: str) -> tuple[torch.Tensor, torch.Tensor]:
        """What an extra forward pass says of every row, without gradients: (R,) its summed loss, and (R,) the
        root of its summed squared ||softmax - one hot||, the bound of its gradient's length (Katharopoulos
        & Fleuret 2018, section 3.2)."""

    @abstractmethod
    def evaluate(self, model: Any, held: Any, device: str) -> dict[str, Any]:
        """A point of the curve: losses by domain, their mean (macro) and that of all together."""


class CausalLmObjective(Objective):
    """The next token of every token."""

    def losses(self, model: Any, batch: Batch, device: str) -> torch.Tensor:
        return self._token_losses(self._logits(model, batch, device), batch, device).sum(dim=1)

    @torch.no_grad()
    def scores(self, model: Any, batch: Batch, device: str) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self._logits(model, batch, device)
        losses = self._token_losses(logits, batch, device)
        targets = torch.from_numpy(batch.targets).to(device)
        known = targets != IGNORED
        p = wide(logits).softmax(dim=-1)
        at = p.gather(2, targets.clamp_min(0)[..., None])[..., 0]
        others = p.square().sum(dim=-1) - at.square()
        squares = ((1 - at).square() + others.clamp_min(0)) * known
        return losses.sum(dim=1), squares.sum(dim=1).sqrt()

    def evaluate(self, model: Any, held: HeldOut, device: str) -> dict[str, Any]:
        return evaluate(model, held, device)

    def _logits(self, model: Any, batch: Batch, device: str) -> torch.Tensor:
        ids = torch.from_numpy(batch.inputs).to(device)
        return model(input_ids=ids, use_cache=False).logits[:, -ids.shape[1] :]  # a prompt's come before

    def _token_losses(self, logits: torch.Tensor, batch: Batch, device: str) -> torch.Tensor:
        targets = torch.from_numpy(batch.targets).to(device)
        flat = cross_entropy(
            wide(logits.flatten(0, 1)), targets.flatten(), ignore_index=IGNORED, reduction="none"
        )
        return flat.view_as(targets)
