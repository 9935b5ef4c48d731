"""The exact similarity of candidate pairs."""

from __future__ import annotations

from typing import ClassVar

from operators.contract import ShuffleOp
from operators.kernels.verifying import Verifying


class NearVerify(Verifying, ShuffleOp):
    """Compares documents with their candidates by the exact similarity of their shingle sets.

    A part of `minhash_dedup`: reads its parts `near` and `followed`. `edges` lists the earlier documents
    that are similar enough, by uid, and `similarity` how similar.
    """

    version: ClassVar[int] = 2
    where: ClassVar[str] = "/followed.paired"
