"""Which clusters a hold-out may take whole, and their place in the draw."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from operators.kernels.counter import uniform

Int64s = npt.NDArray[np.int64]


def draw(
    split_seed: int, lead: npt.NDArray[np.uint64], size: Int64s, total: Int64s, largest: float
) -> npt.NDArray[np.float64]:
    """(n,) each cluster's number in (0, 1), a function of (split_seed, lead); 2 where it may not be taken.

    A cluster may be taken if it has at most `largest` of the `total` documents of its group (one
    document always may), and if something is left of the group.
    """
    may = (size <= np.maximum(1, largest * total)) & (size < total)
    return np.where(may, uniform(split_seed, lead), 2.0)
