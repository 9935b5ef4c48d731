"""Classification as an objective: the log-probability of a row's class, held-out loss, accuracy and F1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gpu_ops.kernels.packing import for_packs
from gpu_ops.trainer.batch import Batch, Ints
from gpu_ops.trainer.evaluate import tokens_at_once
from gpu_ops.trainer.labelled import Examples
from gpu_ops.trainer.objective import Logits, Objective


@dataclass
class _Device:
    """What `for_packs` asks of whatever runs batches."""

    budget: int
    device: str


class ClassificationObjective(Objective):
    """The class of every row. pad: the token that fills up rows, masked."""

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def logits(self, model: Any, batch: Batch, device: str) -> Logits:
        targets = torch.from_numpy(batch.targets).to(device)
        return Logits(self._values(model, batch, device), targets, None, batch.targets.shape)

    def evaluate(self, model: Any, held: Examples, device: str) -> dict[str, Any]:
        """Nats per row; beside them `accuracy` in the same form, and `macro_f1`: the mean F1 of the classes
        that are there or were predicted."""
        losses, predicted = self._looked(model, held, device)
        count = len(held.data.domains)
        rows = np.bincount(held.domains, minlength=count)
        return {
            **_by_domain(losses, held, rows),
            "accuracy": _by_domain(predicted == held.targets, held, rows),
            "macro_f1": macro_f1(held.targets, predicted),
        }

    @torch.no_grad()
    def _looked(self, model: Any, held: Examples, device: str) -> tuple[np.ndarray, Ints]:
        """(N,) losses and predictions of all rows."""
        training = model.training
        model.eval()
        losses, predicted = np.zeros(held.size), np.zeros(held.size, np.int64)
        longest = int(held.lengths.max())

        def look(numbers: Ints) -> None:
            found = self.logits(model, held.take(numbers, longest), device)
            losses[numbers] = found.losses().cpu().numpy()
            predicted[numbers] = found.values.argmax(dim=-1).cpu().numpy()

        for_packs(held.lengths, _Device(tokens_at_once(device), device), look, "document")
        model.train(training)
        return losses, predicted

    def _values(self, model: Any, batch: Batch, device: str) -> torch.Tensor:
        """(R, V)."""
        inputs = torch.from_numpy(batch.inputs).to(device)
        if batch.lengths is None:
            return model(inputs.to(next(model.parameters()).dtype))
        lengths = torch.from_numpy(batch.lengths).to(device)
        mask = torch.arange(inputs.shape[1], device=device)[None] < lengths[:, None]
        filled = inputs.masked_fill(~mask, self.pad)
        return model(input_ids=filled, attention_mask=mask.long()).logits


def _by_domain(values: np.ndarray, held: Examples, rows: np.ndarray) -> dict[str, Any]:
    means = np.bincount(held.domains, values.astype(np.float64), len(rows)) / rows
    by_name = dict(zip(held.data.domains, means.tolist(), strict=True))
    return {"domains": by_name, "macro": float(means.mean()), "all": float(values.mean())}


def macro_f1(truth: Ints, predicted: Ints) -> float:
    """The mean over classes of 2 TP / (2 TP + FP + FN)."""
    count = int(max(truth.max(), predicted.max())) + 1
    there, said, right = (
        np.bincount(v, minlength=count) for v in (truth, predicted, truth[truth == predicted])
    )
    known = there + said > 0
    return float((2 * right[known] / (there + said)[known]).mean())
