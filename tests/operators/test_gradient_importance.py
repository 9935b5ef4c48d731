"""The gradient's defaults; what it shares with the loss is tested there."""

from __future__ import annotations

from operators.gradient_importance import GradientImportance
from operators.loss_importance import LossImportance


def test_defaults_are_those_of_the_papers() -> None:
    gradient, loss = (kind(cap=90, keep_rows=1) for kind in (GradientImportance, LossImportance))
    assert (gradient.score, gradient.exponent, gradient.min_tau) == ("el2n", 1.0, 2.0)
    assert (loss.score, loss.exponent, loss.min_tau) == ("loss", 0.5, None)


def test_they_differ_in_nothing_else() -> None:
    fields = {"score": "s", "exponent": 1, "min_tau": 3, "cap": 90, "keep_rows": 1}
    assert GradientImportance(**fields).parts() == LossImportance(**fields).parts()
