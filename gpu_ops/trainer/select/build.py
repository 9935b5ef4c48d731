"""From a run's settings to its selector."""

from __future__ import annotations

from typing import assert_never

from gpu_ops.trainer import config_select as settings
from gpu_ops.trainer.select.auto_assist import AutoAssist
from gpu_ops.trainer.select.backward_mask import BackwardMask
from gpu_ops.trainer.select.biased_loss import BiasedLoss
from gpu_ops.trainer.select.gradient_bound import GradientBound
from gpu_ops.trainer.select.placebo import Placebo
from gpu_ops.trainer.select.reducible_loss import ReducibleLoss
from gpu_ops.trainer.select.selective_backprop import SelectiveBackprop
from gpu_ops.trainer.select.selector import Selector
from gpu_ops.trainer.select.self_paced import SelfPaced


def build(select: settings.SelectConfig | None, seed: int, steps: int) -> Selector | None:
    """The selector of a run of so many steps; None where all rows are trained on."""
    if select is None:
        return None
    real = _real(select, seed, steps)
    return Placebo(seed, real) if select.placebo else real


def _real(select: settings.SelectConfig, seed: int, steps: int) -> Selector:
    if isinstance(select, settings.GradientBoundConfig):
        pays = (select.candidates + 3) / 3
        return GradientBound(seed, select.min_tau or pays, select.momentum, select.cap)
    if isinstance(select, settings.BiasedLossConfig):
        history = select.losses == "history"
        return BiasedLoss(seed, select.exponent, select.smoothing, history, select.cap)
    if isinstance(select, settings.SelectiveBackpropConfig):
        return SelectiveBackprop(seed, select.beta, select.ring, select.reuse, select.cap)
    if isinstance(select, settings.AutoAssistConfig):
        features = (select.gamma, select.ngrams, select.buckets, select.rate)
        return AutoAssist(seed, *features, select.ring, select.warm, select.weigh)
    if isinstance(select, settings.SelfPacedConfig):
        grow, warmup = (round(share * steps) for share in (select.grow, select.warmup))
        pace = (select.start, select.cap, grow, warmup, select.power)
        return SelfPaced(*pace, select.weights, select.losses == "own", select.ring, select.by_class)
    if isinstance(select, settings.ReducibleLossConfig):
        top = select.choice == "top"
        return ReducibleLoss(seed, top, select.alpha, select.beta, steps, select.cap)
    if isinstance(select, settings.BackwardMaskConfig):
        return BackwardMask(seed, select.rule, select.keep, select.low, select.unit == "rows")
    assert_never(select)
