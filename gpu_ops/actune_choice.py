"""What AcTune says of each row: to label, to trust, or neither."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from operators.contract import DROP, Adds, Columns, Kind, MapOp, Reads, Uses, drop_column


class ActuneChoice(MapOp):
    """Adds `rank` of the rows to label and `pseudo`, the predicted label of the rows to trust.

    The face of `actune`; gets the artifact of `actune_regions` under the name `regions`.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    predicted: str = "predicted"
    """What the model takes a row for."""
    mark: bool = False
    """Drop no row."""

    @property
    def reads(self) -> Reads:
        return {"uid": pa.int64(), "/regions.rank": pa.int64(), self.predicted: Kind.STRING}

    @property
    def adds(self) -> Adds:
        return {**({} if self.mark else {"drop": DROP}), "rank": pa.int64(), "pseudo": pa.string()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        state, uid, rank = uses["regions"], np.asarray(batch.column("uid")), batch.column("/regions.rank")
        trusted = np.isin(uid, state.get("pseudo", uid[:0]))
        label = batch.column(self.predicted)
        pseudo = pa.array(np.asarray(label.to_numpy(zero_copy_only=False)), pa.string(), mask=~trusted)
        out: dict[str, pa.Array] = {"rank": rank, "pseudo": pseudo}
        if not self.mark:
            stays = trusted | np.asarray(rank.is_valid()) | np.isin(uid, state["before"])
            out["drop"] = drop_column(
                np.where(stays, -1, np.where(np.isin(uid, state["apart"]), 1, 0)),
                ["not_selected", "not_comparable"],
            )
        return out
