"""Loss-proportional importance sampling, with a guard against noise."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from operators.kernels.seeking import SeekRecipe


class LossImportance(SeekRecipe):
    """Keeps rows with a probability that grows with their loss, never one row twice, and weighs them.

    Katharopoulos & Fleuret 2017, 'Biased Importance Sampling for Deep Neural Network Training' (arXiv
    1706.00043): p ~ loss + c, and training weights (1 / (N p))^k with k < 1, which lets hard rows weigh
    more than in an unbiased sample. Here the rows are chosen once, without replacement (`importance`), so N p
    is the probability with which a row was sampled: `weight` is its inverse to the power `exponent`, as
    many rows as it stands for at 1. Use weighted means: below 1 the weights do not add up to the rows.
    Rows go as `not_sampled`, `no_score` (also a weight of 0), `too_high` or `suspect`.

    What to expect: little, and harm where labels are wrong. Online it never reached uniform sampling's
    final training loss, but a test error of .105 against .107 (SUBJ). With a fifth of the labels wrong
    (`workflows/noise_guard.py`, two data sets), 43 % and 30 % of the kept rows were wrong, and heads
    trained on them lost .33 and .16 of accuracy against random rows; with `cap: 75` 13 % and 18 %, and .11
    and .05 won; with a clean reference 9 % and 17 %, and .13 and .03 won. So a `cap`, a `reference` or
    `noise: accepted` is asked for. On language models it makes the variance of the gradient larger than
    uniform sampling does (by 1 %).
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"score": "words", "cap": 80, "keep_share": 0.3, "smoothing": 1, "seed": 1},
        {"score": "score", "reference": "label", "keep_rows": 5, "group": "domain", "exponent": 0, "seed": 2},
        {
            "score": "words",
            "noise": "accepted",
            "keep_tokens": 90,
            "tokens": "words",
            "min_tau": 1.2,
            "seed": 3,
        },
    )

    score: str = "loss"
    """The numeric column to seek by: a loss, never negative."""
    exponent: float = Field(0.5, ge=0, le=1)
    """The k of the weights: 1 is unbiased; below it the large losses weigh more; 0 makes all weights 1."""
