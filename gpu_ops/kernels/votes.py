"""How far the members of a committee are from each other, and the keyed weights that they are fitted with.

Legend: n rows, K classes, M members.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpu_ops.kernels.uncertainty import entropy
from operators.kernels.counter import UInt64s, uniform

Float64s = npt.NDArray[np.float64]

_STREAM = 0x766F746573  # keeps apart from other operators that share a seed
_STRIDE = 0x9E3779B97F4A7C15  # between the seeds of two members: those of neighbouring seeds must differ
_POISSON = 1 / np.cumprod(np.arange(1, 20), dtype=np.float64)  # 1 / j! from j = 1 on


def counts(seed: int, member: int, key: UInt64s) -> Float64s:
    """(n,) how often each row is in this member's sample: Poisson numbers of mean 1, functions of
    (seed, member, key), which is a bootstrap whose size is left free (Oza & Russell 2001)."""
    share = np.cumsum(np.concatenate([[1.0], _POISSON])) / np.e
    return np.searchsorted(share, uniform((seed ^ _STREAM) + member * _STRIDE, key)).astype(np.float64)


def exponentials(seed: int, member: int, key: UInt64s) -> Float64s:
    """(n,) weights of mean 1, none of them 0, functions of (seed, member, key): a Bayesian bootstrap (Rubin
    1981) whose sum is left free."""
    return np.asarray(-np.log(uniform((seed ^ _STREAM) + member * _STRIDE, key)))


def vote_entropy(log_p_MnK: Float64s) -> Float64s:
    """(n,) entropy, in nats, of the members' votes for their likeliest classes, of equals the first (Dagan &
    Engelson 1995, without their division by the logarithm of the largest number of votes)."""
    members, _, classes = log_p_MnK.shape
    votes = log_p_MnK.argmax(axis=2)
    shares = (votes[:, :, None] == np.arange(classes)).sum(axis=0) / members
    with np.errstate(divide="ignore"):
        return entropy(np.log(shares)) + 0.0


def consensus(log_p_MnK: Float64s) -> Float64s:
    """(n, K) the logarithm of the mean distribution."""
    return np.asarray(np.logaddexp.reduce(log_p_MnK, axis=0) - np.log(len(log_p_MnK)))
