"""What a model is trained to do: logits of what is learned, losses and bounds by row, an evaluation.

Legend: R rows, T places of a row, K targets that are learned from, V classes (or tokens).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from gpu_ops.kernels.document_mask import document_inputs
from gpu_ops.trainer.batch import IGNORED, Batch
from gpu_ops.trainer.evaluate import HeldOut, evaluate
from gpu_ops.trainer.precision import wide


@dataclass(frozen=True)
class Logits:
    """values: (K, V). targets: (K,). place: (K,) where each is in the flattened targets of the batch, None
    where it has nothing else. shape: that of the batch's targets, (R,) or (R, T)."""

    values: torch.Tensor
    targets: torch.Tensor
    place: torch.Tensor | None
    shape: tuple[int, ...]

    def losses(self) -> torch.Tensor:
        """(R,) or (R, T) losses, at least float32, 0 where nothing is learned."""
        return self._spread(cross_entropy(wide(self.values), self.targets, reduction="none"))

    @torch.no_grad()
    def bounds(self) -> torch.Tensor:
        """(R,) the root of each row's summed squared ||softmax - one hot||: the bound of its gradient's
        length (Katharopoulos & Fleuret 2018, section 3.2)."""
        p = wide(self.values.detach()).softmax(dim=-1)
        others = p.scatter(1, self.targets[:, None], 0.0)  # their sum is 1 - p_y, without its cancellation
        squares = others.sum(dim=-1).square() + others.square().sum(dim=-1)
        return by_row(self._spread(squares)).sqrt()

    def _spread(self, values: torch.Tensor) -> torch.Tensor:
        if self.place is not None:
            values = values.new_zeros(int(np.prod(self.shape))).index_put((self.place,), values)
        return values.view(self.shape)


def by_row(values: torch.Tensor) -> torch.Tensor:
    """(R,) sums over the places of a row."""
    return values.sum(dim=1) if values.ndim == 2 else values


class Objective(ABC):
    """A training objective. Whoever adds losses up can weigh every target alike; a row's mean is its sum by
    `Batch.learned`."""

    @abstractmethod
    def logits(self, model: Any, batch: Batch, device: str) -> Logits:
        """What the model says of the targets that are learned from."""

    @abstractmethod
    def evaluate(self, model: Any, held: Any, device: str) -> dict[str, Any]:
        """A point of the curve: losses by domain, their mean (macro) and that of all together."""


class CausalLmObjective(Objective):
    """The next token of every token. Where some are not learned from, the output layer sees the hidden states
    of the others alone."""

    def logits(self, model: Any, batch: Batch, device: str) -> Logits:
        inputs, targets = (torch.from_numpy(a).to(device) for a in (batch.inputs, batch.targets.reshape(-1)))
        place = None if (batch.targets != IGNORED).all() else (targets != IGNORED).nonzero()[:, 0]
        more: dict[str, Any] = {"use_cache": False}
        if batch.positions is not None:
            more = document_inputs(torch.from_numpy(batch.positions).to(device))
        with _gathered(model, inputs.shape, place):
            said = model(input_ids=inputs, **more).logits
        if place is not None and said.shape[:2].numel() == len(place):
            return Logits(said.flatten(0, 1), targets[place], place, batch.targets.shape)
        # A head that could not be given some places alone; what a prompt says comes before the inputs. Where
        # there is none a slice would still be a copy of everything in the backward pass.
        prompt = said.shape[1] - inputs.shape[1]
        values = (said[:, prompt:] if prompt else said).flatten(0, 1)
        if place is not None:
            values, targets = values[place], targets[place]
        return Logits(values, targets, place, batch.targets.shape)

    def evaluate(self, model: Any, held: HeldOut, device: str) -> dict[str, Any]:
        return evaluate(model, held, device)


@contextmanager
def _gathered(model: Any, shape: torch.Size, place: torch.Tensor | None) -> Iterator[None]:
    """Meanwhile the model's output layer gets the hidden states (1, K, D) at these places of (R, T, D). The
    model is called as a whole, so whatever wraps it, or comes after the layer (a scale, a cap), is in
    place."""
    head = getattr(model, "module", model).get_output_embeddings()
    if place is None or head is None:
        yield
        return

    def gather(_: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden = given[0]
        return given if hidden.shape[:2] != shape else (hidden.flatten(0, 1)[place][None],)

    handle = head.register_forward_pre_hook(gather)
    try:
        yield
    finally:
        handle.remove()
