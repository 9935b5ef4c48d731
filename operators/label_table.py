"""A file's (id, label) pairs, as a table to look ids up in."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.contract import Adds, Artifact, Columns, FoldOp, Kind, Reads, Uses
from operators.kernels.grouping import MAX_NAME_BYTES, show_name
from operators.kernels.label_pairs import SHOWN_BYTES, as_text, id_hashes, no_pairs, show_id

MOST_IDS = 10_000_000
_BYTES = 8 + 8 + 8 + 8 + SHOWN_BYTES  # of an id


class LabelTable(FoldOp):
    """Collects the labels of all ids. A part of `known_labels`, which says what is an error.

    Artifact, for n ids by (low, high): `low` and `high` (n,) uint64, the halves of an id's hash; `code` (n,)
    the place of its label in `names` (G,) (bytes with a full stop at the end, ascending); `row` (n,) the
    first row of the file that has it, from 0; `shown` (n,) its first 80 bytes; `blank` (1,)
    rows without a label.
    Memory: 112 bytes an id, 10 million at most.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"label": "domain"},
        {"id": "domain", "label": "domain"},
    )

    id: str = "id"
    """The column of ids: strings or integers."""
    label: str = "label"
    """The column of labels: strings, integers or booleans."""

    @property
    def reads(self) -> Reads:
        return {"uid": pa.int64(), self.id: Kind.ANY, self.label: Kind.ANY}

    @property
    def adds(self) -> Adds:
        return {}

    @property
    def state_bytes(self) -> int:
        return (_BYTES + MAX_NAME_BYTES) * MOST_IDS

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        uid = np.asarray(batch.column("uid"))
        label = as_text(batch.column(self.label), f"the label column {self.label!r}")
        blank = pc.fill_null(pc.equal(pc.ascii_trim_whitespace(label), ""), True)
        have = np.flatnonzero(~np.asarray(blank))
        ids = as_text(batch.column(self.id), f"the id column {self.id!r}").take(pa.array(have))
        uid, label = uid[have], label.take(pa.array(have))
        if ids.null_count:
            row = int(np.flatnonzero(np.asarray(ids.is_null()))[0])
            raise ValueError(
                f"row {uid[row]} of the labels has the label {label[row].as_py()!r} but no "
                f"{self.id}: fill it in"
            )
        blanks = np.array([batch.num_rows - len(have)], np.int64)
        if not len(have):
            return {**no_pairs(), "blank": blanks}
        low, high = id_hashes(ids)
        names, code = np.unique(self._names(label, uid), return_inverse=True)
        shown = [value[:SHOWN_BYTES] + b"." for value in ids.cast(pa.large_binary()).to_pylist()]
        pairs = {"low": low, "high": high, "code": code.reshape(-1).astype(np.int64), "row": uid}
        return _agreed({**pairs, "shown": np.array(shown), "names": names, "blank": blanks})

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        names = np.unique(np.concatenate([a["names"], b["names"]]))
        code = [np.searchsorted(names, one["names"])[one["code"]] for one in (a, b)]
        both = {name: np.concatenate([a[name], b[name]]) for name in ("low", "high", "row", "shown")}
        merged = _agreed(
            {
                **both,
                "code": np.concatenate(code).astype(np.int64),
                "names": names,
                "blank": a["blank"] + b["blank"],
            }
        )
        if len(merged["low"]) > MOST_IDS:
            raise ValueError(
                f"the labels have more than {MOST_IDS:,} ids; use several nodes, each with some of the files"
            )
        return merged

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        return state

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        return {}

    def _names(self, label: pa.Array, uid: np.ndarray) -> np.ndarray:
        names = [value + b"." for value in label.cast(pa.large_binary()).to_pylist()]
        longest = int(np.argmax([len(name) for name in names]))
        if len(names[longest]) > MAX_NAME_BYTES:
            raise ValueError(
                f"row {uid[longest]} of the labels: the {self.label} {show_name(names[longest][:60])}... is "
                f"{len(names[longest]) - 1} bytes long, at most {MAX_NAME_BYTES - 1} are possible"
            )
        return np.array(names)


def _agreed(state: Artifact) -> Artifact:
    """One pair an id, the first row's; ValueError where two rows do not agree."""
    order = np.lexsort([state["row"], state["high"], state["low"]])
    low, high, code = (state[name][order] for name in ("low", "high", "code"))
    same = (low[1:] == low[:-1]) & (high[1:] == high[:-1])
    if (conflict := np.flatnonzero(same & (code[1:] != code[:-1]))).size:
        first, second = order[conflict[0]], order[conflict[0] + 1]
        raise ValueError(
            f"the labels say two things of the id {show_id(state['shown'][first])}: "
            f"{show_name(state['names'][state['code'][first]])} in row {state['row'][first]} and "
            f"{show_name(state['names'][state['code'][second]])} in row {state['row'][second]}; keep one"
        )
    kept = order[np.append(True, ~same)[: len(order)]]
    pairs = {name: state[name][kept] for name in ("low", "high", "code", "row", "shown")}
    return {**pairs, "names": state["names"], "blank": state["blank"]}
