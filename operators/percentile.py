"""The global rank and percentile of each row by a numeric column, approximate or exact."""

from __future__ import annotations

from typing import Any, ClassVar

from operators.contract import Part, Recipe


class Percentile(Recipe):
    """Adds `percentile` (float32, 0 to 1) and `rank` (int64, from 0): where a row stands in the whole corpus.

    Of n rows with a value, a row with b smaller ones and e equal ones (itself included) has the
    mid-percentile (b + e / 2) / n, the mean of its shares by `<` and `<=` (scipy's `percentileofscore` with
    `kind="mean"`): equal values have the same one, and the mean of all is 1/2. Null and NaN have neither and
    count for nothing; infinite values are the ends. Columns of different units become comparable by it, so
    that mixtures of them (`formula`) make sense.

    By default from one histogram of 65,536 bins (`quantiles`, one pass): values in a bin are less than 1 %
    apart and are taken as spread evenly in it, so a percentile is wrong by at most the share of the rows in
    its bin, and never falls where the value grows. `rank` is then the percentile times n, rounded down, and
    rows that the histogram cannot tell apart share it.

    `exact: true` sorts: the histogram says how many rows come before each bin, and the rows of a bin are
    ranked by a shuffle of 32 bytes a row (`value_rank`), those that are equal counted by another one
    (`equal_values`). `rank` is then the place in the stable sort by (value, position in the source), each
    number from 0 to n - 1 once. It costs two shuffles of all rows; bins are its finest parts, so a
    column whose values all lie within a few per cent is sorted by few workers.

    What to expect of the histogram: for 85,005 documentation texts its largest error was .0014 for the length
    in bytes, .0004 in words and .0067 for bytes a word, the mean error below .0004. A column whose values all
    lie in one bin is not told apart at all: use `exact` there. Beyond 16 million rows float32 has fewer steps
    than there are ranks; `rank` has them all.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"column": "score"},
        {"column": "score", "exact": True},
        {"column": "label", "exact": True},
    )

    column: str
    """The numeric column."""

    exact: bool = False
    """Whether the rows are sorted instead of looked up in a histogram."""

    def parts(self) -> list[Part]:
        quantiles = {"quantiles": "quantiles"}
        sort = [
            Part("equal", "equal_values", {"column": self.column}),
            Part("rank", "value_rank", {"column": self.column}, quantiles),
        ]
        return [
            Part("quantiles", "quantiles", {"column": self.column}),
            *(sort if self.exact else []),
            Part("percentile", "percentile_of", {"column": self.column, "exact": self.exact}, quantiles),
        ]
