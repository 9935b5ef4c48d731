"""Claim: with many rows a parameter the hard rows teach nearly as much as all, with few rows the easy ones do
and the hard ones teach less than random ones.

    python -m workflows.pruning_regimes [--dimensions 100] [--seeds 3]

A teacher-student perceptron (Sorscher et al. 2022, arXiv 2206.14486, section 2): Gaussian rows are labelled
by a random direction, the teacher; hard rows are those nearest to its boundary. A student learns from the
kept rows by a linear support vector machine without intercept. Prints its error, the angle to the teacher
over pi.

Found (100 dimensions, three seeds, 3 s): 40 rows a parameter, 15 % kept: hard .0138, all .0139, random .0844
(hard / random .16). 2 rows, 30 % kept: easy .185, all .202, random .329, hard .443.
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

# Rows a parameter, and the share of them that is kept.
SETTINGS = ((40.0, 0.15), (2.0, 0.3))


def error(x: Any, label: Any, teacher: Any) -> float:
    """How often the student of these rows (n, d) and the teacher (d,) differ."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the angle has long stood still
        student = LinearSVC(C=100, loss="hinge", fit_intercept=False, max_iter=20_000, random_state=0)
        w = student.fit(x, label).coef_[0]
    return float(np.arccos(w @ teacher / np.linalg.norm(w) / np.linalg.norm(teacher)) / np.pi)


def errors(dimensions: int, per_parameter: float, share: float, seed: int) -> dict[str, float]:
    """The student's error by which rows it learns from."""
    rng = np.random.default_rng(seed)
    teacher, x = rng.normal(size=dimensions), rng.normal(size=(int(per_parameter * dimensions), dimensions))
    margin = x @ teacher
    order, k = np.argsort(np.abs(margin)), int(share * len(x))
    rows = {"all": order, "hard": order[:k], "easy": order[-k:], "random": rng.permutation(len(x))[:k]}
    return {name: error(x[some], margin[some] > 0, teacher) for name, some in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dimensions", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    for per_parameter, share in SETTINGS:
        runs = [errors(arguments.dimensions, per_parameter, share, seed) for seed in range(arguments.seeds)]
        mean = {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
        shown = ", ".join(f"{name} {value:.4f}" for name, value in mean.items())
        print(
            f"{per_parameter:g} rows a parameter, {share:.0%} kept: {shown}; "
            f"hard / random {mean['hard'] / mean['random']:.2f}, easy / all {mean['easy'] / mean['all']:.2f}"
        )


if __name__ == "__main__":
    main()
