"""The exact similarity of candidate pairs that the first search has cut off."""

from __future__ import annotations

from typing import ClassVar

from operators.contract import ShuffleOp
from operators.kernels.verifying import Verifying


class NearReverify(Verifying, ShuffleOp):
    """Compares documents with the candidates that only their second search has found.

    A part of `minhash_dedup`: reads its parts `near`, `again` and `heard`. `edges` and `similarity` are
    those of `near_verify`.
    """

    where: ClassVar[str] = "/heard.paired"
    again: ClassVar[bool] = True
    follows: ClassVar[str] = "/heard.followed"
