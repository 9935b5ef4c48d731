"""A number for each row by arithmetic over its other columns."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from operators.contract import Adds, Columns, Kind, MapOp, Reads, Uses
from operators.kernels.expressions import columns_of, evaluate
from operators.quantiles import number_column


class Formula(MapOp):
    """Adds `name` (float32): an arithmetic expression over numeric columns, such as a difficulty of several.

    `loss.loss_per_byte * log1p(lengths.words)`, `where(loss > 8, 8, loss)`, `0.7 * long.percentile + 0.3 *
    hard.percentile`: numbers, columns (`column` or `node.column`), `+ - * / **`, comparisons, `and`, `or`,
    `not`, and `log`, `log2`, `log10`, `log1p`, `exp`, `sqrt`, `abs`, `min`, `max`, `where(condition, a, b)`.
    The expression is parsed, never run as code; what it may not have is found before anything runs, with
    its place.

    Computed in float64 (integers above 2**53 are rounded), rounded to float32 at the end, where numbers
    above 3.4e38 become infinite. A null or NaN is unknown, and so is whatever depends on it: the result is
    null there, also where the arithmetic itself has no answer (`log(-1)`, `0 / 0`). `1 / 0` and `log(0)` are
    infinite and stay so. A comparison with an unknown number is unknown too, not false; `where` needs only
    the side that it chooses.

    Columns of different units should be brought to one scale first: sums of `percentile`s are the common
    way. What to expect: it orders as you tell it to; no combination was measured here.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"expression": "log1p(abs(score)) * words - label ** 2 / 3"},
        {
            "expression": "where(1 < s <= 4 or not n, min(s, n, 2.5), max(-s, sqrt(n)))",
            "names": {"s": "score", "n": "words"},
            "name": "mixed",
        },
    )

    expression: str
    """The formula, in a line of at most 2,000 characters."""

    names: dict[str, str] = Field(default={})
    """Names of the expression -> columns; needed where a column's own name is no identifier of Python
    (`in`, `a-b`)."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] = "value"
    """The added column."""

    @model_validator(mode="after")
    def _can_be_read(self) -> Formula:
        used = columns_of(self.expression)
        lost = [name for name in self.names if name not in used]
        if lost:
            raise ValueError(f"formula: names has {lost[0]!r}, which the expression lacks; take it out")
        return self

    @property
    def reads(self) -> Reads:
        return {self._column(name): Kind.NUMBER for name in columns_of(self.expression)}

    @property
    def adds(self) -> Adds:
        return {self.name: pa.float32()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        names = columns_of(self.expression)
        values = evaluate(
            self.expression, {name: number_column(batch.column(self._column(name))) for name in names}
        )
        with np.errstate(over="ignore"):
            return {self.name: pa.array(values.astype(np.float32), pa.float32(), mask=np.isnan(values))}

    def _column(self, name: str) -> str:
        return self.names.get(name, name)
