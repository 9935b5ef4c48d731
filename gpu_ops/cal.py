"""cal: rows of which a model says other things than of the labelled rows beside them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from gpu_ops.kernels.neighbours import LARGEST, top_k
from gpu_ops.kernels.pool import Float32s, Int64s, Pool, Wanted
from gpu_ops.kernels.selecting import Choice, SelectOp
from gpu_ops.kernels.uncertainty import Float64s, divergence
from operators.contract import Artifact, Telling
from operators.kernels.counter import uniform

_STREAM = 0x63616C  # keeps apart from other operators that share a seed
LEAST = 1e-12  # what a probability counts as at least, so that no divergence is infinite
_ROWS = 1024  # whose neighbours are compared at once


class Cal(SelectOp, Telling):
    """Chooses contrastive rows: near to labelled ones by their embedding, far by what the model says of them.

    CAL (Margatina et al. 2021, arXiv 2109.03764, algorithm 1). Adds `divergence`, the mean of
    KL(p(y | labelled neighbour) || p(y | row)) in nats over the `neighbours` nearest labelled rows
    (Euclidean); the rows of the largest come first. A labelled row's own neighbours are the others, never
    itself. Rows of equal divergence come in an order by (seed, key), and so do all rows where no row is
    labelled: then there is no divergence, and the choice is random. With `group`, neighbours are of the
    same group, and a group that chooses nobody has no divergence.

    What to expect: it needs an embedding that the task has taught (the paper takes the fine-tuned encoder's).
    On TREC with TF-IDF features it lost 5 points against random rows (.759 against .812), with the hidden
    layer of a trained network it won less than one (.804 against .796). With MiniLM embeddings, which no task
    has taught, it lost to random rows: subjectivity -1.0 +- .2 points, banking77 -12.8 +- .6. The end of the
    run says how often neighbours have the same predicted class: where that is hardly more often than by
    chance, do not use it. `labelled` is needed, and `probabilities` of one model for all rows: labelled rows
    must not be scored out of fold (`classifier_head` with `folds: null`, or a `committee`).

    `weight` is 1. Probabilities below 1e-12 count as that. Memory: 8 bytes a class and row, and 16 a row and
    neighbour beside the pool; all rows are compared with all labelled ones. Rows with numbers beyond 1e15 are
    an error.
    """

    measures: ClassVar[tuple[str, ...]] = ("divergence",)
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"labelled": "domain", "keep_rows": 4, "seed": 1},
        {"probabilities": "embedding", "labelled": "domain", "neighbours": 2, "keep_share": 0.5}
        | {"group": "label", "mark": True, "seed": 2},
    )

    embedding: str = "embedding"
    """The column of embeddings in which neighbours are near: lists of floats, all of one length."""
    probabilities: str = "probabilities"
    """The column of the model's probabilities: lists of floats, one for each class."""
    neighbours: Annotated[int, Field(ge=1, le=1000)] = 10
    """How many labelled neighbours a row is compared with; all, where there are fewer."""

    @model_validator(mode="after")
    def _has_labelled_rows(self) -> Self:
        if self.labelled is None:
            raise ValueError(
                "cal compares rows with labelled ones: give `labelled`, such as `labelled: label`"
            )
        return self

    @property
    def wanted(self) -> Wanted:
        return Wanted([self.embedding, self.probabilities], distributions={self.probabilities: 1})

    def choose(self, pool: Pool, k: int, device: str) -> Choice:
        free, taken = np.flatnonzero(~pool.taken), np.flatnonzero(pool.taken)
        luck = uniform((self.seed or 0) ^ _STREAM, pool.key[free])
        p, value = pool.vectors[self.probabilities], np.full(len(pool), np.nan)
        votes = np.zeros((1, 3))
        if len(taken):
            near = self._nearest(pool, taken, device)
            value = divergences(p, taken, near)
            votes = _agreement(p, taken, near, free)
        order = np.lexsort((luck, -np.nan_to_num(value[free])))
        return Choice(free[order[:k]], figures={"agreement": votes}, measured={"divergence": value})

    def tell(self, state: Artifact) -> str:
        pairs, same, chance = state.get("agreement", np.zeros((1, 3))).sum(axis=0)
        if not pairs:
            return "no row has a labelled neighbour: the choice is random"
        return (
            f"{same / pairs:.0%} of the labelled neighbours have the row's predicted class, "
            f"{chance / pairs:.0%} would by chance; where these are alike, the embedding says little of the "
            "classes, and cal is worse than random rows"
        )

    def _nearest(self, pool: Pool, taken: Int64s, device: str) -> Int64s:
        """(n, neighbours) places among the taken ones, -1 where there are no more."""
        x = pool.vectors[self.embedding]
        _check_size(x, pool.uid, self.embedding)
        own = np.full(len(pool), -1)
        own[taken] = np.arange(len(taken))
        return top_k(x, x[taken], self.neighbours, "l2", own, device).index


def divergences(p: Float32s, taken: Int64s, near: Int64s) -> Float64s:
    """(n,) the mean KL(p of the neighbour || p of the row), in nats; NaN for rows without any.
    p: (n, K). near: (n, k) places in `taken`, -1 for none."""
    out = np.full(len(p), np.nan)
    theirs = _logarithms(p[taken])
    for start in range(0, len(p), _ROWS):
        some = near[start : start + _ROWS]
        each = divergence(theirs[some], _logarithms(p[start : start + _ROWS])[:, None])
        count = (some >= 0).sum(axis=1)
        total = np.where(some >= 0, each, 0).sum(axis=1)
        np.divide(total, count, out=out[start : start + _ROWS], where=count > 0)
    return out


def _logarithms(p: Float32s) -> Float64s:
    return np.log(np.maximum(np.asarray(p, np.float64), LEAST))


def _agreement(p: Float32s, taken: Int64s, near: Int64s, free: Int64s) -> Float64s:
    """(1, 3) over the rows that may be chosen: pairs with a neighbour, those of one predicted class, and how
    many of these there would be by chance."""
    likeliest = p.argmax(axis=1)
    row, rank = np.nonzero(near[free] >= 0)
    mine, other = likeliest[free[row]], likeliest[taken[near[free[row], rank]]]
    shares = [np.bincount(one, minlength=p.shape[1]) / max(len(one), 1) for one in (mine, other)]
    return np.array([[len(row), (mine == other).sum(), len(row) * (shares[0] * shares[1]).sum()]])


def _check_size(x: Float32s, uid: Int64s, column: str) -> None:
    for start in range(0, len(x), _ROWS):
        large = np.abs(x[start : start + _ROWS]).max(axis=1).astype(np.float64) > LARGEST
        if large.any():
            raise ValueError(
                f"{column} has a number beyond {LARGEST:.0e} at uid {uid[start + int(large.argmax())]}: "
                "squares of such ones cannot be added up; normalise the embeddings"
            )
