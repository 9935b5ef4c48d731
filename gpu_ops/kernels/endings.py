"""Real and generated endings as sparse features, and discriminators that tell them apart.

Legend: n rows, each with one real ending and some generated ones; C candidates of all rows together,
the real one of a row before its generated ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gpu_ops.kernels.linear import fitted
from operators.kernels.counter import uniform

Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
Features = Literal["words", "characters"]

BUCKETS = 1 << 16
_TOKEN = r"\w+|[^\w\s]"


def features(texts: Sequence[str], kind: Features) -> Any:
    """(C, 2**16) sparse float64: hashed counts of 1- and 2-grams of words and punctuation, or of 2- to
    4-grams of characters within words; each row of length 1."""
    from sklearn.feature_extraction.text import HashingVectorizer

    how: dict[str, Any] = {"token_pattern": _TOKEN, "ngram_range": (1, 2)}
    if kind == "characters":
        how = {"analyzer": "char_wb", "ngram_range": (2, 4)}
    return HashingVectorizer(n_features=BUCKETS, alternate_sign=False, **how).transform(texts)


@dataclass
class Game:
    """Who plays: the candidates of n rows, and which generated ones stand beside each real one.

    first: (n + 1,) where each row's candidates begin; the real one is there. chosen: (n, k) candidates.
    kinds: for every kind of feature the (C, 2**16) matrix.
    """

    first: Int64s
    chosen: Int64s
    kinds: Sequence[Any]

    def play(self, train: Bools) -> tuple[Float64s, Bools]:
        """(C,) scores, high for what looks real, by the discriminator that is best on the rows that
        are not in `train`; and (n,) whether it ranks the real ending above all chosen ones."""
        best: tuple[Float64s, Bools] | None = None
        for matrix in self.kinds:
            score = self._scores(matrix, train)
            solved = score[self.first[:-1]] > score[self.chosen].max(axis=1)
            if best is None or solved[~train].sum() > best[1][~train].sum():
                best = score, solved
        assert best is not None
        return best

    def replace(self, score: Float64s, rows: Int64s, luck: UInt64s, most: int, stream: int) -> int:
        """In these rows up to `most` chosen endings that score below the real one make way for ones that
        score above it and are not chosen, both drawn at random; how many did. luck: (n,)."""
        count = 0
        for row in rows.tolist():
            start, end, chosen = self.first[row], self.first[row + 1], self.chosen[row]
            easy = np.flatnonzero(score[chosen] < score[start])
            hard = start + np.flatnonzero(score[start:end] > score[start])
            hard = np.setdiff1d(hard, chosen)
            number = min(most, len(easy), len(hard))
            chosen[_some(easy, number, stream, luck[row])] = _some(hard, number, stream + 1, luck[row])
            count += number
        return count

    def _scores(self, matrix: Any, train: Bools) -> Float64s:
        """Logistic regression of real against chosen endings of the rows in `train`, on all candidates."""
        from sklearn.linear_model import LogisticRegression

        real, fake = self.first[:-1][train], self.chosen[train].reshape(-1)
        label = np.repeat([1, 0], [len(real), len(fake)])
        model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=50, tol=1e-3)
        scores: Float64s = fitted(model, matrix[np.concatenate([real, fake])], label).decision_function(
            matrix
        )
        return scores


def first_choice(first: Int64s, count: int, luck: UInt64s) -> Int64s:
    """(n, count) that many generated candidates of each row, drawn at random."""
    rows = [_some(np.arange(first[row] + 1, first[row + 1]), count, 0, luck[row]) for row in range(len(luck))]
    return np.array(rows, np.int64).reshape(len(rows), count)


def split(luck: UInt64s, share: float, stream: int) -> Bools:
    """(n,) which rows are trained on: that share of them, and neither none nor all."""
    count = min(max(round(share * len(luck)), 1), len(luck) - 1)
    train = np.zeros(len(luck), bool)
    train[np.argsort(uniform(stream, luck), kind="stable")[:count]] = True
    return train


def _some(places: Int64s, number: int, stream: int, luck: np.uint64) -> Int64s:
    """So many of the places, in random order that depends on (stream, luck)."""
    order = np.argsort(uniform(stream, luck + np.arange(len(places), dtype=np.uint64)), kind="stable")
    return places[order[:number]]
