"""Repeated lines or paragraphs: cut out of the texts, across the whole corpus."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from operators.contract import Part, Recipe
from operators.kernels.lines import Ignored, Least, Unit


class LineDedup(Recipe):
    """Cuts lines that other documents have too (Wenzek et al. 2020, 'CCNet: Extracting High Quality
    Monolingual Datasets from Web Crawl Data', https://arxiv.org/abs/1911.00359, section 3.2), and drops
    documents of which too little is left, as "too_short_after_line_dedup".

    A line ends with its line feed and is cut with it, and with the empty lines behind it where an empty
    one (or nothing) is left before it; a paragraph is lines without an empty one between them and is cut
    with the empty lines behind it. Nothing else of a text changes. `cuts` says which bytes go, `lines_cut`
    and `bytes_cut` how many; all are null for a document that stays as it is, whatever its length.
    Documents come in the order of the source.

    Lines are compared by a 64-bit hash of their form without what `ignore` names, white space at the ends
    or more than one in between. Those with no character left, such as empty ones and "* * *", stay. The
    default is the paper's form; its published code keeps accents and ASCII punctuation. As there, a line
    that is repeated in one document and in no other keeps its first copy whatever the policy.
    """

    guard: ClassVar[float | None] = 0.95
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"unit": "paragraph", "policy": "drop_all", "ignore": ["case"], "min_words": 3},
        {"policy": "drop_all", "within": "keep", "min_line": 8, "min_chars": 20},
    )

    unit: Unit = "line"
    """What is compared and cut: `line` or `paragraph`."""
    policy: Literal["keep_first", "drop_all"] = "keep_first"
    """`keep_first`: the first document that has a line keeps it; `drop_all`: none does (CCNet's two passes,
    which take most boilerplate out of a web crawl, but also good text that was copied once)."""
    within: Literal["first", "keep"] = "first"
    """Copies of a line in one and the same document: only the `first` may stay, or all of them: `keep`, for
    refrains and code, in which a closing line comes again."""
    ignore: Ignored = ("case", "numbers", "punctuation", "accents")
    """Differences that do not count: `case`; `numbers`: each digit reads as 0; `punctuation` (Unicode P, Cc
    and Cf) and `accents` (Mn after NFD: also the vowel signs of Arabic, Hebrew, Thai...) are left out."""
    min_line: Least = 1
    """Characters that a line must have after that to be compared; shorter ones stay."""
    min_chars: Annotated[int, Field(ge=0)] = 0
    """Characters (code points) that must be left of a document that was cut."""
    min_words: Annotated[int, Field(ge=0)] = 1
    """Words (runs without white space) that must be left of a document that was cut."""

    def parts(self) -> list[Part]:
        lines = {"unit": self.unit, "ignore": self.ignore, "min_line": self.min_line}
        least = {"min_chars": self.min_chars, "min_words": self.min_words}
        return [
            Part("repeated", "repeated_lines", {**lines, "policy": self.policy, "within": self.within}),
            Part("cuts", "line_cuts", {**lines, **least}),
        ]
