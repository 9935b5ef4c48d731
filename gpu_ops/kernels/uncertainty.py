"""How sure a distribution over classes is, from its log-probabilities, and how far it is from a label.

Legend: n rows, K classes, T distributions of each row (such as dropout passes). All in nats, float64.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]


def log_softmax(logits: npt.ArrayLike) -> Float64s:
    """Log-probabilities over the last axis, that of a class that is nearly certain to full precision."""
    z = np.asarray(logits, np.float64)
    z = z - z.max(axis=-1, keepdims=True)
    others = np.exp(z)
    np.put_along_axis(others, z.argmax(axis=-1)[..., None], 0, axis=-1)
    return z - np.log1p(others.sum(axis=-1, keepdims=True))


def entropy(log_p: Float64s) -> Float64s:
    """-sum p log p over the last axis; a probability of 0 adds nothing."""
    p = np.exp(log_p)
    return -np.where(p > 0, p * np.where(p > 0, log_p, 0), 0).sum(axis=-1)


def confidence(log_p: Float64s) -> Float64s:
    """The largest probability."""
    return np.exp(log_p.max(axis=-1))


def least_confidence(log_p: Float64s) -> Float64s:
    """1 - the largest probability, without cancellation where that is near 1."""
    return np.asarray(-np.expm1(log_p.max(axis=-1)))


def margin(log_p: Float64s) -> Float64s:
    """The largest probability - the second; small where two classes compete. Of one class alone 1."""
    if log_p.shape[-1] == 1:
        return np.ones(log_p.shape[:-1])
    top = np.partition(log_p, -2, axis=-1)[..., -2:]
    return np.exp(top[..., 1]) - np.exp(top[..., 0])


def bald(log_p_TnK: Float64s) -> Float64s:
    """(n,) mutual information of the label and the model (Houlsby et al. 2011, Gal et al. 2017): the entropy
    of the mean distribution - the mean entropy."""
    mean = np.logaddexp.reduce(log_p_TnK, axis=0) - np.log(len(log_p_TnK))
    return np.maximum(entropy(mean) - entropy(log_p_TnK).mean(axis=0), 0)


def divergence(log_p: Float64s, log_q: Float64s) -> Float64s:
    """KL(p || q) over the last axis; a p of 0 adds nothing."""
    p = np.exp(log_p)
    return np.maximum(np.where(p > 0, p * (log_p - log_q), 0).sum(axis=-1), 0)


def el2n(log_p: Float64s, label: Int64s) -> Float64s:
    """(n,) the length of (p - one-hot label) (Paul et al. 2021), exact also where that is near 0."""
    rows = np.arange(len(label))
    rest = np.exp(log_p)
    rest[rows, label] = np.expm1(log_p[rows, label])
    return np.sqrt(np.square(rest).sum(axis=-1))
