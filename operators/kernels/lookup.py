"""Values looked up among known ones, such as uids among those of an artifact."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def places(values: npt.NDArray[Any], known: npt.NDArray[Any]) -> tuple[Int64s, Bools]:
    """(n,) where each value stands among the ascending known ones, some place for one that does not (0 where
    nothing is known), and (n,) whether it does."""
    place = np.minimum(np.searchsorted(known, values), max(len(known) - 1, 0))
    return place, known[place] == values if len(known) else np.zeros(len(values), bool)


def at(values: npt.NDArray[Any], place: Int64s) -> npt.NDArray[Any]:
    """The values at these places; zeros where there are no values at all."""
    return values[place] if len(values) else np.zeros(len(place), values.dtype)
