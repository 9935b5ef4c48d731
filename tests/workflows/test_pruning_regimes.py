"""The teacher and the student in few dimensions: the claim holds there too."""

from __future__ import annotations

from workflows.pruning_regimes import errors


def test_many_rows_want_hard_ones_and_few_want_easy_ones() -> None:
    many, few = errors(30, 40, 0.15, seed=1), errors(30, 2, 0.3, seed=1)
    assert many["hard"] < 0.5 * many["random"]
    assert few["easy"] < few["random"] < few["hard"]
