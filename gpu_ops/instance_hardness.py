"""Instance hardness: of each larger class, the rows that models get right go last."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from gpu_ops.kernels.linear import fit_head
from gpu_ops.kernels.pool import Float64s, Int64s
from gpu_ops.kernels.thinning import BudgetOp, Rows, Verdict
from operators.contract import Adds
from operators.kernels.lookup import places

_STREAM = 0x68617264  # keeps apart from other operators that share a seed


class InstanceHardness(BudgetOp):
    """Keeps, of every class but the smallest, the rows whose label a classifier is surest of.

    Smith, Martinez & Giraud-Carrier 2014 (Machine Learning 95, section 4), as imbalanced-learn's
    InstanceHardnessThreshold: `p_label` is the probability of a row's own label by a model of the other
    folds (null where there is no other fold with a row), and each class keeps its rows with the largest.
    Which fold a row is in depends on (seed, key), and every class is spread evenly over the
    folds. The reason is "hard".

    What to expect: what goes is hard or mislabelled, so the set gets cleaner and easier. At 5 % minority,
    logistic regression on it was worse than on as many random rows: `workflows/undersampling.py`.

    One job: 16 bytes a number for the standardised vectors. Needs scikit-learn.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"seed": 1},
        {"label": "domain", "cap": 4, "estimator": "forest", "folds": 2, "mark": True, "seed": 2},
    )
    reasons: ClassVar[tuple[str, ...]] = ("hard",)
    needs_vectors: ClassVar[bool] = True

    estimator: Literal["logistic", "forest"] = "logistic"
    """Logistic regression on standardised vectors, or a random forest of 100 trees (imbalanced-learn's)."""
    folds: Annotated[int, Field(ge=2, le=100)] = 5
    """In how many folds rows are scored out of sample."""
    seed: int | None = None
    """Seed of the folds and the forest; the plan derives one from the run's seed and the node's name."""

    @property
    def evidence(self) -> Adds:
        return {"p_label": pa.float64()}

    def judge(self, rows: Rows, device: str) -> Verdict:
        order = rows.shuffled((self.seed or 0) ^ _STREAM)
        probability, reason = self.out_of_fold(rows, order), np.full(len(rows), -1)
        for label, budget in enumerate(self.budgets(rows)):
            mine = rows.of(label)
            best = np.argsort(-probability[mine], kind="stable")  # the unknown last
            reason[mine[best[budget:]]] = 0
        return Verdict(reason, {"p_label": probability})

    def out_of_fold(self, rows: Rows, order: Int64s) -> Float64s:
        """(n,) probability of the own label; NaN where no other fold has a row."""
        fold = np.zeros(len(rows), np.int64)
        for label in range(len(rows.names)):
            mine = order[rows.label[order] == label]
            fold[mine] = np.arange(len(mine)) % self.folds
        out = np.full(len(rows), np.nan)
        for number in range(self.folds):
            held, train = np.flatnonzero(fold == number), order[fold[order] != number]
            if len(held) and len(train):
                out[held] = self._predicted(rows, train, held)
        return out

    def _predicted(self, rows: Rows, train: Int64s, held: Int64s) -> Float64s:
        """(m,) of the held rows, by a model of the others."""
        x, label, asked = rows.x[train], rows.label[train], rows.label[held]
        if self.estimator == "logistic":
            head = fit_head(x, label, len(rows.names), standardise=True, c=1.0)
            return np.exp(head.log_probabilities(rows.x[held])[np.arange(len(held)), asked])
        from sklearn.ensemble import RandomForestClassifier

        model = RandomForestClassifier(random_state=(self.seed or 0) % 2**32).fit(x, label)
        place, known = places(asked, model.classes_)
        return np.where(known, model.predict_proba(rows.x[held])[np.arange(len(held)), place], 0.0)
