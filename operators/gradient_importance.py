"""Importance sampling by the gradient's norm, where that differs enough between rows."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from operators.kernels.seeking import SeekRecipe


class GradientImportance(SeekRecipe):
    """Keeps rows with a probability that grows with their gradient, never one row twice, and weighs them.

    Katharopoulos & Fleuret 2018, 'Not All Samples Are Created Equal' (arXiv 1803.00942): p ~ an upper bound
    of the gradient's norm, weights 1 / (N p), and uniform sampling until tau = sqrt(N sum p^2) says that
    the scores are worth their cost: tau > (B + 3 b) / (3 b) for b rows out of B scored ones, as a training
    step costs three scorings; 2 for a third of the rows. Here the rows are chosen once, without replacement
    (`importance`); `weight` is the inverse of the probability with which a row was sampled, so that
    weighted sums are unbiased. Rows go as `not_sampled`, `no_score` (also a weight of 0), `too_high` or
    `suspect`.

    Scores: `el2n` of `classifier_head` or `classifier_scores` (rank correlation with the exact norm .997
    and more), `grad_norm`. What to expect: tau from 1 to 18 as a classifier learns, and yet uniform
    sampling's final training loss at 1.0 to 1.12 times its cost; on texts under a language model tau <=
    1.02, where it stays off. With a fifth of the labels wrong (`workflows/noise_guard.py`, two data sets),
    el2n kept 35 % and 27 % wrong rows, and heads trained on them lost .21 and .10 of accuracy against
    random rows; with `cap: 75` 12 % and 18 %, and .11 and .05 won. So a `cap`, a `reference` or `noise:
    accepted` is asked for.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"score": "words", "cap": 95, "keep_share": 0.3, "seed": 1},
        {
            "score": "words",
            "noise": "accepted",
            "keep_tokens": 90,
            "tokens": "words",
            "min_tau": 1,
            "seed": 1,
        },
    )

    score: str = "el2n"
    """The numeric column to seek by: a norm, never negative, such as `el2n`, `grad_bound`, `grad_norm`."""
    min_tau: float | None = Field(2.0, ge=1)
    """Below this tau rows are drawn uniformly (all weights are equal), and the run says so; null: never."""
