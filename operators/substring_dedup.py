"""Repeated passages: of every span of tokens that occurs more than once, one copy stays."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from operators.contract import Explained, Part, Recipe
from operators.kernels.segments import Winnowing

GRAM_BYTES, TOKEN_BYTES = 9, 5  # of a message about a gram; of a token of English with its white space


class SubstringDedup(Recipe, Explained):
    """Cuts every span of `length` or more tokens that stands earlier in the corpus, in whatever document.

    A token is a run of letters, digits and `_`, one character of a script without spaces (Chinese,
    Japanese, Thai, ...), or a run of one and the same other character; accents, skin tones and the like
    belong to the character before them. White space separates tokens and is not compared.

    A token goes if and only if it lies in a run of `length` tokens (a window) whose first occurrence lies
    wholly before: in an earlier document, or at least `length` tokens earlier in the same one. So every
    token that goes stands in an earlier copy too; where copies overlap in different ways, the one that
    stays may be in pieces. A window that overlaps its own first occurrence is left: periodic text keeps
    its beginning. This is exact, up to collisions of a 128-bit hash of the tokens. Lee et al. 2022
    (Deduplicating Training Data Makes Language Models Better, section 4.1) use a suffix array of the whole
    corpus; here hashes are shuffled, in memory that does not grow with it.

    `cuts` edits the text: of the white space around a cut the part with more line ends stays. `copies`
    is the evidence: the tokens of the bytes from `start` to `end` of this text stand in the earlier
    document `uid` (or earlier in this one) too. `bytes_cut`, `spans_cut`: how much was cut. All are null
    for a document that stays as it is. `drop` is "too_short_after_substring_dedup".
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"length": 8},
        {"length": 3, "case": "fold", "min_tokens": 2},
        {},
    )
    guard: ClassVar[float | None] = 0.95

    length: Annotated[int, Field(ge=2, le=10_000)] = 50
    """Tokens from which a repeat counts."""
    case: Literal["keep", "fold"] = "keep"
    """`fold`: upper and lower case are equal."""
    min_tokens: Annotated[int, Field(ge=0)] = 1
    """A document that was cut and keeps fewer tokens goes. At most `length`, so that no document goes
    with the only whole copy of a repeat; above 1, the only copy of some shorter piece may go."""

    @model_validator(mode="after")
    def _keeps_whole_copies(self) -> Self:
        if self.min_tokens > self.length:
            raise ValueError(
                f"min_tokens = {self.min_tokens} is more than length = {self.length}: documents would go "
                "that hold the only copy of a repeat; filter by length below this node instead"
            )
        return self

    def parts(self) -> list[Part]:
        length = {"length": self.length}
        text = {**length, "case": self.case}
        return [
            Part("grams", "repeated_grams", text),
            Part("segments", "repeated_segments", text),
            Part("first", "first_segments"),
            Part("contested", "contested_cores", length),
            Part("windows", "first_windows", text),
            Part("spans", "repeated_spans", length),
            Part("decision", "span_cuts", {**text, "min_tokens": self.min_tokens}),
        ]

    def explain(self) -> str:
        gram = Winnowing(self.length).gram
        width = self.length - gram + 1
        sent = 2 / (width + 1) * GRAM_BYTES
        return (
            f"finds every repeat of {self.length} tokens or more: of any {width} runs of {gram} tokens in a "
            "row it sends one\n"
            f"that shuffles {sent:.2f} B a token ({GRAM_BYTES} B for 2 of {width + 1} tokens), "
            f"{sent / TOKEN_BYTES:.2f} B per byte of text at {TOKEN_BYTES} B a token; repeats cost more"
        )
