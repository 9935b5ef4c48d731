"""A whole forward pass, and a loss of only some of its tokens or rows."""

from __future__ import annotations

from typing import Literal

import numpy as np

from gpu_ops.trainer.batch import IGNORED, Batch
from gpu_ops.trainer.select.sampling import luck
from gpu_ops.trainer.select.selector import NOTHING, Arrays, Bools, Chosen, Floats, Scores, Selector

Rule = Literal["random", "lowest", "highest", "band", "excess"]

_STREAM = 0x6D61736B  # keeps apart from other selectors that share a seed


class BackwardMask(Selector):
    """All rows of a batch go through the model, and of their targets only the share `keep` is learned from:
    `random`; those with the `lowest` or `highest` loss; a `band` of the batch's losses, from the percentile
    `low` on; or those with the largest `excess` over a reference model's loss (Lin et al. 2024, 'Rho-1: Not
    All Tokens Are What You Need', arXiv 2404.07965, section 2.2: there 60 to 70 % of the tokens). Targets are
    ranked over the whole batch. With `unit: rows`, all targets of a row go or stay, by its mean.

    What the model computes of the inputs is not touched (attention and statistics of normalisation see
    everything); the output layer sees the kept targets alone, so that its cost, forward and backward, is the
    share `keep` of what it was. `random` costs nothing. The other rules ask for a forward pass of their own,
    and `excess` for one of the reference: a third of a step each, far more than the output layer saves.
    """

    def __init__(self, seed: int, rule: Rule, keep: float, low: float, rows: bool) -> None:
        self.seed, self.rule, self.keep, self.low, self.rows = seed ^ _STREAM, rule, keep, low, rows

    def wants(self, batch: Batch) -> frozenset[str]:
        if self.rule == "random":
            return NOTHING
        names = {"loss", "reference"} if self.rule == "excess" else {"loss"}
        whole = self.rows or batch.targets.ndim == 1
        return frozenset(names if whole else {f"token_{name}" for name in names})

    def choose(self, batch: Batch, scores: Scores, rows: int, number: int) -> Chosen:
        known = batch.targets != IGNORED
        whole = self.rows or known.ndim == 1
        there = known.reshape(len(batch), -1).any(axis=1) if whole else known
        value = self._value(there.shape, scores, number)
        kept = np.zeros(there.shape, bool)
        kept[there] = self._kept(value[there])
        keep = known & (kept if kept.ndim == known.ndim else kept[:, None])
        told = {"kept_targets": float(keep.sum() / max(1, known.sum()))}
        return Chosen(np.arange(len(batch)), np.ones(len(batch)), keep=keep, told=told)

    def _value(self, shape: tuple[int, ...], scores: Scores, number: int) -> Floats:
        """By which the targets (or rows) are ranked: small ones stay."""
        if self.rule == "random":
            return luck(self.seed, number, int(np.prod(shape))).reshape(shape)
        token = "token_" if len(shape) == 2 else ""
        loss = scores.of(f"{token}loss")
        if self.rule == "excess":
            return scores.of(f"{token}reference") - loss
        return -loss if self.rule == "highest" else loss

    def _kept(self, value: Floats) -> Bools:
        """(n,) of them the share that stays, at least one."""
        n = len(value)
        most = min(n, max(1, round(self.keep * n)))
        first = min(round(self.low * n), n - most) if self.rule == "band" else 0
        kept = np.zeros(n, bool)
        kept[np.argsort(value, kind="stable")[first : first + most]] = True
        return kept

    def learn(self, batch: Batch, seen: Scores) -> None:
        return

    def state(self) -> Arrays:
        return {}

    def restore(self, state: Arrays) -> None:
        return
