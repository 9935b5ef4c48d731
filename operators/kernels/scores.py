"""A score column as log weights: what importance sampling, its weights and its effective size agree on."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.contract import Kind, Reads

Floats = npt.NDArray[np.float64]
ScoreIs = Literal["log_weight", "weight", "rank"]
Missing = Literal["drop", "error"]


def score_reads(score: str, score_is: ScoreIs, missing: Missing) -> Reads:
    """What `log_weights` reads of a batch: the uid too, where it may have to name a culprit."""
    return {score: Kind.NUMBER, **({"uid": pa.int64()} if missing == "error" or score_is == "weight" else {})}


def log_weights(
    batch: pa.RecordBatch, score: str, score_is: ScoreIs, descending: bool, missing: Missing = "drop"
) -> Floats:
    """(n,) log weights or ranks, the wanted ones large; anything not finite is no score.

    ValueError, with the uid, for a negative weight, and for a score that is missing where that is an error.
    """
    column = pc.cast(batch.column(score), pa.float64(), safe=False)
    values = pc.fill_null(column, float("nan")).to_numpy(zero_copy_only=False)
    if missing == "error":
        bad = ~np.isfinite(values)
        _refuse(batch, score, column, bad, "drop such rows before, or set missing: drop")
    if score_is == "weight":
        _refuse(batch, score, column, values < 0, "a weight is >= 0; is it a log_weight?")
        with np.errstate(divide="ignore"):
            values = np.log(values)
    return values if descending else -values


def _refuse(batch: pa.RecordBatch, score: str, column: pa.Array, bad: np.ndarray, hint: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        uid = batch.column("uid")[row].as_py()
        raise ValueError(f"importance: {score} is {column[row].as_py()} at uid {uid}; {hint}")
