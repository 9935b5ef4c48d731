"""A bigram model over words, trained in a second: what a selection is worth to a language model.

Legend: V words that are known, n tokens of a text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

_TOKEN = re.compile(r"[^\W_]+|[^\w\s]|_")


def tokens(text: str) -> list[str]:
    """Lower-cased words, and other characters one by one."""
    return _TOKEN.findall(text.lower())


class Vocabulary:
    """The words that occur at least `least` times in some texts; all others are one word. The same one for
    all models that are compared, or their perplexities would not be comparable."""

    def __init__(self, texts: Iterable[str], least: int = 3) -> None:
        seen = Counter(word for text in texts for word in tokens(text))
        known = sorted(word for word, times in seen.items() if times >= least)
        self.place = {word: i for i, word in enumerate(known, 1)}  # 0: any other

    def __len__(self) -> int:
        return len(self.place) + 1

    def ids(self, text: str) -> Int64s:
        """(n + 1,) the text's words; before them the start, which is V."""
        words = [self.place.get(word, 0) for word in tokens(text)]
        return np.array([len(self), *words], np.int64)


class WordModel:
    """p(w | v) = max(c(v w) - d, 0) / c(v) + d (different words after v) / c(v) p(w), with d = 0.75: absolute
    discounting (Ney, Essen & Kneser 1994); p(w) = (c(w) + 1/2) / (C + V/2)."""

    DISCOUNT = 0.75

    def __init__(self, size: int, texts: Sequence[Int64s]) -> None:
        self.size = size
        before, after = _pairs(texts)
        self.codes, self.times = np.unique(before * size + after, return_counts=True)
        first = self.codes // size
        self.total = np.bincount(first, self.times, size + 1)
        self.kinds = np.bincount(first, minlength=size + 1)
        single = np.bincount(after, minlength=size) + 0.5
        self.single = single / single.sum()

    def perplexity(self, texts: Sequence[Int64s]) -> float:
        """exp of the mean negative log probability of a word, the first one of a text included."""
        before, after = _pairs(texts)
        code = before * self.size + after
        place = np.minimum(np.searchsorted(self.codes, code), max(len(self.codes) - 1, 0))
        seen = self.codes[place] == code if len(self.codes) else np.zeros(len(code), bool)
        times = np.where(seen, self.times[place] if len(self.codes) else 0, 0)
        total = np.maximum(self.total[before], 1)
        left = np.where(self.total[before] > 0, self.DISCOUNT * self.kinds[before] / total, 1.0)
        p = np.maximum(times - self.DISCOUNT, 0) / total + left * self.single[after]
        return float(np.exp(-np.log(p).mean()))


def _pairs(texts: Sequence[Int64s]) -> tuple[Int64s, Int64s]:
    none = [np.zeros(0, np.int64)]
    return np.concatenate([*none, *(t[:-1] for t in texts)]), np.concatenate([*none, *(t[1:] for t in texts)])
