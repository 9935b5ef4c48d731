"""Small corpora full of near duplicates, and the greedy decision by brute force."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

Measure = Callable[[str, str, int], float]


def corpus(seed: int, n: int, letters: str = "abcdefghij") -> list[str]:
    """n texts: a few base texts of up to 14 words with up to 3 words changed; some have no words."""
    rng = random.Random(seed)
    base = [rng.choices(letters, k=rng.randint(0, 14)) for _ in range(5)]
    texts = []
    for _ in range(n):
        words = list(rng.choice(base))
        for _ in range(rng.randint(0, 3) if words else 0):
            words[rng.randrange(len(words))] = rng.choice("abcxyz")
        texts.append(" ".join(words))
    return texts


def ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    """The word n-grams; a text of 1 to n words is one."""
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))} if words else set()


def jaccard(a: str, b: str, ngram: int) -> float:
    one, two = ngrams(a, ngram), ngrams(b, ngram)
    return len(one & two) / len(one | two) if one | two else 0.0


def containment(a: str, b: str, ngram: int) -> float:
    """Of a in b."""
    one, two = ngrams(a, ngram), ngrams(b, ngram)
    return len(one & two) / len(one) if one else 0.0


def greedy(
    texts: list[str], threshold: float, ngram: int, order: list[int], measure: Measure = jaccard
) -> set[int]:
    """The documents that go: in this order, those with a kept one at or above the threshold."""
    kept: list[int] = []
    for i in order:
        if not any(measure(texts[i], texts[k], ngram) >= threshold for k in kept):
            kept.append(i)
    return set(order) - set(kept)
