"""Language identification with py3langid's model, on the Arrow buffers."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from operators.contract import DROP, TEXT, Adds, Columns, MapOp, Reads, Uses, drop_column
from operators.kernels.language import LANGUAGES, language_scores, load_model, prepared
from operators.kernels.text_buffers import text_buffers, truncated

Floats = npt.NDArray[np.float64]


class LanguageId(MapOp):
    """Says which of 140 languages a text is in, and drops others than those that are wanted.

    Adds `language` (ISO 639: two letters where there are, else three) and `probability` (float32; of that
    language among those considered, as py3langid normalises it: the softmax of the log posteriors over the
    square root of the bytes read). The model is py3langid 0.4's (https://github.com/adbar/py3langid; Lui &
    Baldwin 2012, langid.py), a naive Bayes over byte n-grams; it needs the extra `language` and no network. A
    text without any n-gram that the model knows (empty, null) has nulls and goes with the reason
    `no_language` where `keep` or `min_probability` is given; others with `other_language` and
    `uncertain_language`.

    Only the first `max_bytes` of a text are read, whole characters; text in several languages is
    taken as one. `zxx` is text in no language, such as code or numbers.

    Raises ModuleNotFoundError without py3langid, ValueError where its model is another one.
    """

    version: ClassVar[int] = 1
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"keep": ["en", "de"], "min_probability": 0.3},
        {"among": ["en", "fr", "zh", "sr"], "max_bytes": 64},
    )

    keep: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The languages that stay; all when not given."""

    min_probability: Annotated[float, Field(ge=0, le=1)] = 0
    """The least probability with which a document stays."""

    among: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The languages that are considered; all when not given. Fewer are told apart better."""

    max_bytes: Annotated[int, Field(ge=4)] = 4096
    """How much of a text is read, in bytes of UTF-8."""

    @field_validator("keep", "among")
    @classmethod
    def _known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        lost = [name for name in names or () if name not in LANGUAGES]
        if lost:
            raise ValueError(f"no language {lost[0]!r}; there are {' '.join(sorted(LANGUAGES))}")
        return names

    @model_validator(mode="after")
    def _kept_are_considered(self) -> LanguageId:
        lost = [name for name in self.keep or () if self.among is not None and name not in self.among]
        if lost:
            raise ValueError(f"language_id: keep names {lost[0]!r}, which is not in among; add it there")
        return self

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        return {"drop": DROP, "language": pa.string(), "probability": pa.float32()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        data, starts, ends = text_buffers(batch.column("text"))
        texts = prepared(data, starts, truncated(data, starts, ends, self.max_bytes))
        scores, found = language_scores(*texts)
        best, share = self._decide(scores, texts[2] - texts[1])
        none, names = found == 0, np.array(LANGUAGES)
        return {
            "drop": self._drops(best, share, none),
            "language": pa.array(names[best], pa.string(), mask=none),
            "probability": pa.array(share, pa.float32(), mask=none),
        }

    def _decide(self, scores: Floats, size: Any) -> tuple[Any, Any]:
        """(n,) the place of each text's language and (n,) float32 its probability."""
        label = load_model().label
        known = np.array([name in (self.among or LANGUAGES) for name in LANGUAGES])
        scores = np.where(known[label], scores, -np.inf) / np.sqrt(np.maximum(size, 1))[:, None]
        weights = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-np.inf))
        shares = np.zeros((len(scores), len(LANGUAGES)))
        for column, place in enumerate(label.tolist()):  # a language may have two columns
            shares[:, place] += weights[:, column]
        best = shares.argmax(axis=1)
        return best, (shares[np.arange(len(best)), best] / weights.sum(axis=1)).astype(np.float32)

    def _drops(self, best: Any, share: Any, none: Any) -> pa.Array:
        wanted = np.array([self.keep is None or name in self.keep for name in LANGUAGES])
        reasons = np.where(share < np.float32(self.min_probability), 1, -1)
        reasons[~wanted[best]] = 0
        reasons[none] = 2 if self.keep is not None or self.min_probability > 0 else -1
        return drop_column(reasons, ["other_language", "uncertain_language", "no_language"])
