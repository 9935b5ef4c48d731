"""Scores texts by how much they resemble a target (DSIR)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from operators.contract import Part, Recipe, UserFile
from operators.ngram_counts import Buckets, Orders


def _named(target: str | dict[str, str]) -> str | dict[str, str]:
    if isinstance(target, dict):
        if not target:
            raise ValueError("several targets are a mapping of names to files, with at least one")
        if odd := [name for name in target if not name.replace("_", "").replace("-", "").isalnum()]:
            raise ValueError(f"a target's name has letters, digits, _ and - only, not {odd[0]!r}")
    return target


class Dsir(Recipe):
    """Adds `log_weight`: how much more likely a text is under the target's hashed n-grams than under
    the raw corpus' (Xie et al. 2023, 'Data Selection for Language Models via Importance Resampling',
    https://arxiv.org/abs/2302.03169, section 3), and `ngrams`, the number of n-grams.

    Counts (`ngram_counts`) over the input and over each target, then a Map (`dsir_weight`). Unlike
    the paper's code: tokens are bytes, so any language and any broken text has them; counts are
    smoothed; and the weight is the mean per n-gram, so that length does not decide: the paper cuts all
    texts into chunks of one length instead, and without that a sum mostly tells how long a text is.
    `normalise: sum` is the paper's weight.

    Several targets, as a mapping of names to files: each has a weight of its own, `log_weight` is the
    largest of them (or their mean), and `target` names the one that a text resembles most. With
    `importance`, `group: target` and `keep_rows` by name give each target its own share, as the reference's
    `separate_targets` does; files in one glob are one target.

    Select with `importance`. Means differ by about 1 nat, less than the noise of temperature 1, which
    would make the choice nearly random: use `temperature: 0` (the best) with them, as even 0.1 costs 5 to 26
    points of precision. Sums differ by a hundred nats and more; temperature 1 is the paper's resampling, and
    in effect takes the best (an ESS of 1 of 4,150 documents).

    What to expect: of documentation in 15 domains the first 300 of 4,150 hold .79 to .95 documents of the
    target's domain by means, .80 to .95 by sums, .07 by chance. A bigram model of a tenth to a fifth of the
    pool is 12 to 40 % less perplexed by the target than one of all of it; a share of 2 % is too little.
    `keep_curve` shows what each kept share would give, `kl_reduction` what a selection gave.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"target": "configs/quickstart/sample/target_python.jsonl", "buckets": 1000},
        {"target": "configs/quickstart/sample/target_python.jsonl", "ngrams": [1, 3], "normalise": "sum"},
        {
            "target": {
                "python": "configs/quickstart/sample/target_python.jsonl",
                "mixed": "configs/quickstart/sample/part-0.parquet",
            },
            "buckets": 1000,
            "combine": "mean",
        },
    )

    target: Annotated[str | dict[str, str], UserFile("file"), AfterValidator(_named)]
    """JSONL or Parquet file, or glob, of the texts to resemble; read with the source's text column. Or
    several targets: names -> files."""

    ngrams: Orders = (1, 2)
    """Which n: single tokens and pairs by default."""

    buckets: Buckets = 10_000
    """How many hash buckets all n-grams share."""

    smoothing: float = Field(1.0, gt=0)
    """Added to every bucket's count, so that an n-gram that the target lacks does not rule a text out."""

    normalise: Literal["mean", "sum"] = "mean"
    """The mean over the n-grams, or their sum, which grows with the length of the text."""

    combine: Literal["max", "mean"] = "max"
    """Of several targets: the weight of the one that a text resembles most, or the mean of all."""

    def parts(self) -> list[Part]:
        counts = {"ngrams": self.ngrams, "buckets": self.buckets}
        files = self.target if isinstance(self.target, dict) else {"": self.target}
        names = {name: f"target_{name}" if name else "target" for name in files}
        weight = {**counts, "smoothing": self.smoothing, "normalise": self.normalise}
        weight |= {"targets": tuple(name for name in files if name), "combine": self.combine}
        return [
            Part("raw", "ngram_counts", counts),
            *(Part(names[name], "ngram_counts", counts, source=files[name]) for name in files),
            Part("weight", "dsir_weight", weight, {"raw": "raw", **{part: part for part in names.values()}}),
        ]
