"""A curriculum: the order in which texts are trained on, from easy to hard."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from operators.contract import Part, Recipe


class Curriculum(Recipe):
    """Adds `order`, a uint64 by which an export sorts: easy texts first, as a pacing function has it.

    At time t of the epoch the easiest c(t) of the texts are available, and the next one is drawn
    uniformly among those not yet drawn (Platanios et al. 2019, 'Competence-based Curriculum Learning',
    https://arxiv.org/abs/1903.09848). Every text is drawn exactly once. The order of a text depends on
    (difficulty, key, seed) and the distribution of the difficulty alone (`quantiles`, `pacing_order`).
    Texts without a difficulty come last.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"seed": 1},
        {"difficulty": "score", "pacing": "linear", "start": 0.1, "descending": True, "seed": 1},
        {"difficulty": "words", "pacing": "sort"},
    )

    difficulty: str = "length"
    """`length`, the bytes of the text, or the name of a numeric column, such as a loss."""

    pacing: Literal["linear", "root", "sort"] = "root"
    """How the share of available texts grows with time, or a plain sort by difficulty."""

    start: float = Field(0.01, gt=0, le=1)
    """The share of the texts, the easiest ones, that is available at the beginning."""

    power: float = Field(2.0, ge=1)
    """The p of root pacing, c(t)^p = start^p + (1 - start^p) t: larger ones open up faster."""

    descending: bool = False
    """Whether large values are the easy ones."""

    seed: int | None = None
    """Seed of the draw; the plan derives one from the run's seed and the node's name."""

    def parts(self) -> list[Part]:
        by_length = self.difficulty == "length"
        column = "/size.bytes" if by_length else self.difficulty
        names = ("pacing", "start", "power", "descending", "seed")
        fields = {"column": column, **{name: getattr(self, name) for name in names}}
        return [
            *([Part("size", "size")] if by_length else []),
            Part("quantiles", "quantiles", {"column": column}),
            Part("pacing", "pacing_order", fields, uses={"quantiles": "quantiles"}),
        ]
