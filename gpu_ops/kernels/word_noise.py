"""Small changes to a text that leave its meaning, mostly, as it was: a pure function of (seed, key, word).

No model and no word list: words are what white space separates, in any script.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from operators.kernels.counter import UInt64s, mix64, random_bits

KINDS = ("drop", "swap", "typo", "surface")
_WORD = re.compile(r"(\S+)(\s*)")
_STREAM = 0x616C6C7368  # keeps apart from other operators that share a seed


def noisy_text(text: str, kind: str, rate: float, luck: int) -> str:
    """The text with about `rate` of its words changed, at least one where the kind can change any.

    drop: the word goes (never all words). swap: it changes places with the next one. typo: two
    neighbouring letters in it change places. surface: its case is inverted and its ASCII punctuation
    goes, or it gets a comma where neither does anything. luck: 64 random bits of this row and augmentation.
    """
    words = [(match[1], match[2]) for match in _WORD.finditer(text)]
    if len(words) < (1 if kind in ("typo", "surface") else 2):
        return text
    bits = mix64(np.arange(len(words), dtype=np.uint64) + np.uint64(luck))
    chosen = _chosen(bits, rate, len(words) - 1 if kind in ("drop", "swap") else len(words))
    lead = text[: len(text) - len(text.lstrip())]
    return lead + "".join(word + blank for word, blank in _changed(words, kind, chosen, mix64(bits)))


def luck_of(seed: int, key: UInt64s) -> UInt64s:
    """(n,) 64 random bits for each row; `luck_of(a, luck)` those of its augmentation `a`."""
    return random_bits(seed ^ _STREAM, key)


def _chosen(bits: UInt64s, rate: float, most: int) -> npt.NDArray[np.bool_]:
    """Which of the words: those below `rate`, the lowest one in any case; at most `most` of them."""
    u = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    count = min(max(int((u < rate).sum()), 1), most)
    chosen = np.zeros(len(bits), bool)
    chosen[np.argsort(u, kind="stable")[:count]] = True
    return chosen


def _changed(
    words: list[tuple[str, str]], kind: str, chosen: npt.NDArray[np.bool_], bits: UInt64s
) -> list[tuple[str, str]]:
    places = np.flatnonzero(chosen).tolist()
    if kind == "drop":
        return [pair for pair, goes in zip(words, chosen.tolist(), strict=True) if not goes]
    made = list(words)
    for i in places:
        word, blank = made[i]
        if kind == "swap":
            j = i + 1 if i + 1 < len(made) else i - 1
            made[i], made[j] = (made[j][0], blank), (word, made[j][1])
        else:
            made[i] = (_typo(word, int(bits[i])) if kind == "typo" else _surface(word), blank)
    return made


def _typo(word: str, bits: int) -> str:
    if len(word) < 2:
        return word + word
    at = bits % (len(word) - 1)
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _surface(word: str) -> str:
    bare = "".join(char for char in word.swapcase() if char.isalnum() or ord(char) > 127)
    return bare if bare and bare != word else word + ","
