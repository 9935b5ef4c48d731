"""adaptive_threshold: a threshold of confidence for each class, by how far the model has learnt it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from operators.contract import DROP, Adds, Artifact, Columns, FoldOp, Kind, Reads, Telling, Uses, drop_column
from operators.kernels.grouping import MAX_GROUPS, MAX_NAME_BYTES, check_groups, group_codes, show_name
from operators.kernels.lookup import places
from operators.quantiles import number_column

Float64s = npt.NDArray[np.float64]


class AdaptiveThreshold(FoldOp, Telling):
    """Keeps the rows that a model is sure of, with a lower threshold for the classes that it knows less.

    Curriculum pseudo-labelling of FlexMatch (Zhang et al. 2021, arXiv 2110.08263, section 3.1, equations 5 to
    8). A class's learning effect is the number of its predictions with a confidence above `threshold`,
    divided by the largest such number, or, while more rows are unsure than that (`warm_up`), by the number
    of those; its threshold is `threshold` times M(effect), M(x) = x / (2 - x). Adds `class_threshold` and
    drops with the reason "not_confident". Adaptive thresholds of uncertainty for questions to annotators are
    the other end of the same scores: `uncertain` with `group: predicted` takes each class's least sure share.

    What to expect: a fixed threshold keeps the easy classes and loses the rest, which this corrects; it pays
    with wrong labels, as the added rows are the less certain ones, and a class that no row is sure of has
    the threshold 0, so that all its rows stay: set `least`.

    Rows without a class or a finite confidence have a null threshold and the reason "no_score". Counts are
    integers: the result is exact for any cut. ValueError for more than 4,096 classes.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"confidence": "score", "predicted": "domain", "threshold": 0.5},
        {"confidence": "score", "predicted": "label", "threshold": 0.9, "least": 0.1, "warm_up": False}
        | {"mark": True},
    )

    confidence: str = "confidence"
    """The numeric column that is high where the model is sure, such as a probability."""
    predicted: str = "predicted"
    """The column of predicted classes: strings or integers."""
    threshold: Annotated[float, Field(gt=0)] = 0.95
    """The threshold of the class that is learnt best."""
    least: float = 0.0
    """What no class's threshold is below."""
    warm_up: bool = True
    """Whether all thresholds are lower while most rows are unsure."""
    mark: bool = False
    """Only adds `class_threshold`; no row is dropped."""

    @property
    def reads(self) -> Reads:
        return {self.confidence: Kind.NUMBER, self.predicted: Kind.LABEL}

    @property
    def adds(self) -> Adds:
        return {**({} if self.mark else {"drop": DROP}), "class_threshold": pa.float64()}

    @property
    def state_bytes(self) -> int:
        return MAX_GROUPS * (MAX_NAME_BYTES + 16) + 8

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        """Artifact, for G classes in ascending order: `names` (G,) bytes, `sure` (G,) rows of each above the
        threshold, `rows` (G,) of each; after `finish` also `thresholds` (G,)."""
        names, code, value = self._scored(batch)
        rows = np.bincount(code, minlength=len(names))
        sure = np.bincount(code[value > self.threshold], minlength=len(names))
        return {"names": names[rows > 0], "sure": sure[rows > 0], "rows": rows[rows > 0]}

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        names, place = np.unique(np.concatenate([a["names"], b["names"]]), return_inverse=True)
        check_groups(len(names))
        out: dict[str, np.ndarray] = {"names": names}
        for name in ("sure", "rows"):
            out[name] = np.zeros(len(names), np.int64)
            np.add.at(out[name], place.reshape(-1), np.concatenate([a[name], b[name]]))
        return out

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        sure, rows = state["sure"], state["rows"]
        most = int(sure.max(initial=0))
        unsure = int(rows.sum() - sure.sum())
        effect = sure / max(most, unsure if self.warm_up else 0, 1)
        return {**state, "thresholds": np.maximum(self.threshold * effect / (2 - effect), self.least)}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        names, code, value = self._scored(batch, keep=True)
        known = (code >= 0) & np.isfinite(value)
        limit = np.full(batch.num_rows, np.nan)
        if len(names) and len(state["names"]):
            limit[known] = state["thresholds"][places(names, state["names"])[0]][code[known]]
        shown = {"class_threshold": pa.array(limit, pa.float64(), mask=~known)}
        if self.mark:
            return shown
        reason = np.where(known, np.where(value > limit, -1, 0), 1)
        return {"drop": drop_column(reason, ["not_confident", "no_score"]), **shown}

    def tell(self, state: Artifact) -> str:
        order = np.lexsort((state["names"], state["thresholds"]))
        ends = [*order] if len(order) <= 4 else [*order[:2], *order[-2:]]
        each = [
            f"{show_name(state['names'][i])} {state['thresholds'][i]:.3f} ({state['sure'][i]:,} of "
            f"{state['rows'][i]:,} sure)"
            for i in ends
        ]
        return f"thresholds of {len(order):,} classes: " + ", ".join(each) if each else "no row has a score"

    def _scored(self, batch: pa.RecordBatch, keep: bool = False) -> tuple[np.ndarray, np.ndarray, Float64s]:
        """The classes of the batch, each row's place in them and its confidence; rows without either are left
        out, or, with `keep`, have the place -1."""
        names, code = group_codes(batch.column(self.predicted), batch.num_rows)
        value = number_column(batch.column(self.confidence))
        known = np.isfinite(value) & ((names != b"")[code] if len(names) else np.zeros(0, bool))
        if keep:
            return names, np.where(known, code, -1), value
        return names, code[known], value[known]
