"""A curriculum: the order in which texts are trained on, from easy to hard."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from operators.contract import Part, Recipe
from operators.kernels.pacing import Kind, Pacing, Shape
from operators.pacing_order import PacingOrder


class Curriculum(Shape, Recipe):
    """Adds `order`, a uint64 by which an export sorts: easy texts first, as a pacing function has it.

    At time t of the pass the easiest c(t) of the texts are available, and the next one is drawn
    uniformly among those not yet drawn (Platanios et al. 2019, 'Competence-based Curriculum Learning',
    https://arxiv.org/abs/1903.09848). Every text is drawn exactly once; texts without a difficulty come last.

    c(t), with s = t / over: linear start + (1 - start) s; root start + (1 - start) s^(1/p); competence
    (start^p + (1 - start^p) s)^(1/p), that of Platanios et al.; exponential start^(1 - s); step `steps`
    levels from start to 1; baby_steps `steps` equal buckets, one more after the other; stages and table as
    they are given; sort a plain sort by difficulty (`kernels/pacing.py`).

    The order is a pure function of (seed, key, difficulty, distribution of the difficulty): neither files,
    batches, workers nor engine enter. So the text at any step is known without the steps before it: it is the
    same after a resume and with more or fewer workers, and texts that a skip list takes out of the export
    move no others. Give the source an id column: without one the key is the place in the source. Texts that
    are added to the source, or dropped above this node, move others as far as they move their percentiles.

    Once each means that at time t a share t has been drawn, so c(t) >= t. A pacing by percentile that lies
    below is refused (exponential, unless `over` is short; step with start < 1 / steps): what one pass could
    make of it is a plain sort. For such a pacing, in which easy texts come back, export with `pacing: sort`
    and give the pacing to the trainer. Pacing by value depends on the data and is not refused: where too few
    texts are available, the easiest of the rest come in their order. baby_steps becomes its buckets one after
    the other, each shuffled: what the method repeats of earlier buckets has been drawn already.

    What to expect: nothing that one can rely on. Small models from scratch at equal tokens, on documentation
    and licences, lost 0.135 nats per byte with a sort from short to long and 0.145 with competence by length,
    over whole documents of any length; over documents of at most 16 kB short before long gained 0.05 to 0.09
    on one corpus and -0.02 to 0.02 on another (5 seeds), and orders by loss or rarity lost up to 0.26.
    `workflows/curriculum.py` tries difficulties and pacings on your text.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"seed": 1},
        {"difficulty": "score", "pacing": "linear", "start": 0.1, "descending": True, "seed": 1},
        {"difficulty": "words", "pacing": "sort"},
        {"difficulty": "words", "pacing": "root", "by": "value", "power": 3.0, "over": 0.5, "seed": 2},
        {"difficulty": "score", "pacing": "step", "by": "value", "steps": 3, "descending": True, "seed": 1},
        {"difficulty": "words", "pacing": "stages", "stages": [[0.5, 0.4], [1.0, 1.0]], "seed": 3},
        {
            "pacing": "table",
            "table": [[0.0, 0.5], [0.4, 0.8], [0.7, 1.0], [1.0, 1.0]],
            "interpolate": False,
            "seed": 4,
        },
        {"difficulty": "score", "pacing": "baby_steps", "steps": 4, "seed": 5},
    )

    difficulty: str = "length"
    """`length`, the bytes of the text, or the name of a numeric column, such as a loss."""

    pacing: Kind = "competence"
    """The pacing function, how what is available grows with time; or a plain sort by difficulty."""

    by: Literal["percentile", "value"] = "percentile"
    """Whether that is a share of the texts, or of the range from the least to the greatest finite difficulty
    (DeepSpeed's `value`), which one outlier stretches."""

    descending: bool = False
    """Whether large values are the easy ones."""

    seed: int | None = None
    """Seed of the draw; the plan derives one from the run's seed and the node's name."""

    @model_validator(mode="after")
    def _one_pass_can_follow(self) -> Self:
        PacingOrder(column="", pacing=self._pacing(), by=self.by)
        return self

    def _pacing(self) -> Pacing:
        return Pacing(kind=self.pacing, **{name: getattr(self, name) for name in Shape.model_fields})

    def parts(self) -> list[Part]:
        by_length = self.difficulty == "length"
        column = "/size.bytes" if by_length else self.difficulty
        names = ("by", "descending", "seed")
        fields = {"column": column, "pacing": self._pacing().model_dump(mode="json")}
        fields |= {name: getattr(self, name) for name in names}
        return [
            *([Part("size", "size")] if by_length else []),
            Part("quantiles", "quantiles", {"column": column}),
            Part("pacing", "pacing_order", fields, uses={"quantiles": "quantiles"}),
        ]
