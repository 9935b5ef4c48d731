"""Which rows a table of labelled ids knows, and whether there are ids that no row has."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from operators.contract import Adds, Artifact, Columns, FoldOp, Kind, Reads, Telling, Uses
from operators.kernels.grouping import show_name
from operators.kernels.label_pairs import as_text, places, show_id
from operators.label_table import MOST_IDS

_NAMED = 5  # ids or labels that a message names


class LabelLookup(FoldOp, Telling):
    """Looks every row up in the table of `label_table`. The face of `known_labels`, which says what the
    columns are. Artifact: that table, `counts` (G,) of rows with each label, `rows` (1,), and `missing`, the
    places in the table of ids that no row has."""

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    on: str = "id"
    """The column that is looked up."""
    unknown: Literal["error", "tell"] = "error"
    """Whether an id that no row has is an error."""

    @property
    def reads(self) -> Reads:
        return {self.on: Kind.ANY}

    @property
    def adds(self) -> Adds:
        return {"label": pa.string(), "known": pa.bool_()}

    @property
    def state_bytes(self) -> int:
        return MOST_IDS // 8 + 8 * MOST_IDS

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        table = uses["table"]
        place = self._places(batch, table)
        place = place[place >= 0]
        found = np.zeros(len(table["low"]), bool)
        found[place] = True
        counts = np.bincount(table["code"][place], minlength=len(table["names"])).astype(np.int64)
        return {
            "found": np.packbits(found),
            "counts": counts,
            "rows": np.array([batch.num_rows], np.int64),
        }

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        found = a["found"] | b["found"]
        return {"found": found, "counts": a["counts"] + b["counts"], "rows": a["rows"] + b["rows"]}

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        table = uses["table"]
        found = np.unpackbits(state["found"], count=len(table["low"])).astype(bool)
        missing = np.flatnonzero(~found)
        known = {**table, "counts": state["counts"], "rows": state["rows"], "missing": missing}
        if len(missing) and self.unknown == "error" and state["rows"][0]:
            raise ValueError(
                f"{_missing(known)}; are they written as in the column {self.on!r}? Mend or take them out, "
                "or set `unknown: tell` where rows were dropped after they were labelled"
            )
        return known

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        place = self._places(batch, state)
        known = place >= 0
        shown = [name[:-1].decode("utf-8", "replace") for name in state["names"].tolist()]
        code = state["code"][place[known]]
        label = np.full(len(place), -1, np.int64)
        label[known] = code
        names = pa.array(shown, pa.string())
        return {"label": names.take(pa.array(label, mask=~known)), "known": pa.array(known)}

    def tell(self, state: Artifact) -> str:
        order = np.argsort(-state["counts"], kind="stable")
        named = [f"{show_name(state['names'][i])} {state['counts'][i]:,}" for i in order[:_NAMED]]
        more = f" and {len(order) - _NAMED} more labels" if len(order) > _NAMED else ""
        lines = [f"{int(state['counts'].sum()):,} of {int(state['rows'][0]):,} rows have a label"]
        lines[0] += f": {', '.join(named)}{more}" if named else ""
        if blank := int(state["blank"][0]):
            lines.append(f"{blank:,} rows of the file have no label yet")
        if len(state["missing"]):
            lines.append(_missing(state))
        return "\n".join(lines)

    def _places(self, batch: pa.RecordBatch, table: Artifact) -> np.ndarray:
        return places(table, as_text(batch.column(self.on), f"the column {self.on!r}"))


def _missing(table: Artifact) -> str:
    """Which labelled ids no row has."""
    missing = table["missing"]
    named = ", ".join(f"{show_id(table['shown'][i])} (row {table['row'][i]})" for i in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return f"{len(missing):,} of {len(table['low']):,} labelled ids belong to no row here: {named}{more}"
