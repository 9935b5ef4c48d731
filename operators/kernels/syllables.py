"""Syllables of English words by the letters alone.

A syllable is a group of vowel letters (a e i o u y, but no y that begins a word), at least one a word. A
group is two where it goes on as in rad-i-o, var-i-ous (i before a, o, u, but not after c, g, l, s, t, x),
cli-ent (i before enc or ent, but not after c, f, t), vid-e-o (e before o, but not after g, p), man-u-al (u
before a, but not after g, q), bey-ond (y before a, e, i, o, u), be-ing (any but i before a final ing or
ings) and cre-ate (rea before te, ti); -ism has two. Silent is the e of a final -e, -es, -ed, -ely, -ement,
-ements, -eful, -eless, -eness behind a consonant, but not in ta-ble(s), box-es (after s, x, z, c, g, sh,
ch) and want-ed (after d, t), nor where it is the only vowel; the e of play-ed is silent.

Against the CMU Pronouncing Dictionary 0.7b, over the words of 16,000 documents (as often as they occur)
that are in it: .981 right, on average .01 syllables too few. The rules were chosen on these words; of those
of four other corpora .988 are right. Hyphenation (pyphen, textstat's fallback) has .928 of the former,
groups alone .837.
"""

from __future__ import annotations

import re
from typing import Any

from operators.kernels.jit import part

MOST_LETTERS = 64  # of a longer word the first ones count

_A, _C, _D, _E, _F, _G, _H, _I, _L, _M, _N = 97, 99, 100, 101, 102, 103, 104, 105, 108, 109, 110
_O, _P, _Q, _R, _S, _T, _U, _X, _Y, _Z = 111, 112, 113, 114, 115, 116, 117, 120, 121, 122


@part
def _vowel(word: Any, i: int) -> bool:
    c = word[i]
    return c in (_A, _E, _I, _O, _U) or (c == _Y and i > 0)


@part
def _goes_on(word: Any, size: int, i: int) -> bool:
    """Whether the vowel at i, behind another one, begins a syllable of its own."""
    c, before = word[i], word[i - 1]
    lead = word[i - 2] if i > 1 else 0
    if before == _Y:
        return c != _Y
    if before == _I and c in (_A, _O, _U):
        return lead not in (_C, _G, _L, _S, _T, _X)
    if before == _I and c == _E and i + 2 < size and word[i + 1] == _N:
        follows = word[i + 2] == _C or word[i + 2] == _T
        return follows and lead not in (_C, _F, _T)
    if before == _E and c == _O:
        return lead not in (_G, _P)
    if before == _U and c == _A:
        return lead not in (_G, _Q)
    if c == _I and before != _I and i + 2 < size and word[i + 1] == _N and word[i + 2] == _G:
        return i + 3 == size or (i + 4 == size and word[i + 3] == _S)
    if before == _E and c == _A and lead == _R and i + 2 < size and word[i + 1] == _T:
        return word[i + 2] == _E or word[i + 2] == _I
    return False


@part
def _silent_at(word: Any, size: int) -> int:
    """The place of the e of a final -e, -es, -ed, -ely, -ement(s), -eful, -eless, -eness; -1 for none."""
    z = word[size - 1]
    y = word[size - 2]
    if z == _E:
        return size - 1
    if y == _E and z in (_S, _D):
        return size - 2
    if size > 3 and z == _Y and y == _L and word[size - 3] == _E:
        return size - 3
    if size > 4 and z == _L and y == _U and word[size - 3] == _F and word[size - 4] == _E:
        return size - 4
    end = size - 1 if z == _S and y == _T else size
    if (
        end > 5
        and word[end - 1] == _T
        and word[end - 2] == _N
        and word[end - 3] == _E
        and word[end - 4] == _M
    ):
        return end - 5 if word[end - 5] == _E else -1
    if size > 5 and z == _S and y == _S and word[size - 3] == _E and word[size - 5] == _E:
        return size - 5 if word[size - 4] == _L or word[size - 4] == _N else -1
    return -1


@part
def _is_silent(word: Any, size: int, at: int) -> bool:
    """Whether that e, at `at`, is not heard."""
    if at < 1:
        return False
    a = word[at - 1]
    b = word[at - 2] if at > 1 else 0
    z = word[size - 1]
    is_ed, is_es = z == _D and at == size - 2, z == _S and at == size - 2
    if is_ed and a == _Y and at > 1 and _vowel(word, at - 2):
        return True
    if _vowel(word, at - 1):
        return False
    if at >= size - 2 and (at == size - 1 or is_ed or is_es) and a == _L:
        return at > 1 and (_vowel(word, at - 2) or b == _L)
    if is_es:
        hissing = a in (_S, _X, _Z, _C, _G)
        return not (hissing or (a == _H and b in (_S, _C)))
    return not (is_ed and a in (_D, _T))


@part
def count_syllables(word: Any, size: int) -> int:
    """The syllables of word[:size], lower-case ASCII letters (uint8); 0 for no letters."""
    if size == 0:
        return 0
    many = 0
    for i in range(size):
        if _vowel(word, i) and (i == 0 or not _vowel(word, i - 1) or _goes_on(word, size, i)):
            many += 1
    end = size - 1 if word[size - 1] == _S else size
    if end > 2 and word[end - 1] == _M and word[end - 2] == _S and word[end - 3] == _I:
        many += 1
    if many > 1 and size > 2 and _is_silent(word, size, _silent_at(word, size)):
        many -= 1
    return max(many, 1)


# Where a vowel behind another one begins a syllable, a bar between them; and the ends with a silent e.
_HIATUS = re.compile(
    r"y\|[aeiou]|(?<![cglstx])i\|[aou]|(?<![cft])i\|en[ct]|(?<![gp])e\|o|(?<![gq])u\|a|[^i]\|ings?$|re\|at[ei]"
)
_SILENT = re.compile(
    r"([^aeiouyl]|^y|([aeioul]|(?<=.)y)l)e$|([^aeiouylsxzcgh]|(?<![sc])h|^y|([aeioul]|(?<=.)y)l)es$"
    r"|([^aeiouyldt]|^y|([aeioul]|(?<=.)y)l|([aeiou]|(?<=.)y)y)ed$|([^aeiouy]|^y)e(ly|ful|ments?|less|ness)$"
)


def reference(word: str) -> int:
    """The syllables of one word in lower-case ASCII letters, by regular expressions."""
    vowels = [c in "aeiou" or (c == "y" and i > 0) for i, c in enumerate(word)]
    many = sum(
        vowel and (i == 0 or not vowels[i - 1] or bool(_HIATUS.search(f"{word[:i]}|{word[i:]}")))
        for i, vowel in enumerate(vowels)
    )
    many += bool(re.search("isms?$", word))
    many -= many > 1 and len(word) > 2 and bool(_SILENT.search(word))
    return max(many, 1) if word else 0
