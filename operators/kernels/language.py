"""py3langid's naive Bayes over byte n-grams, run on Arrow buffers with the tables of its model."""

from __future__ import annotations

import hashlib
import threading
import unicodedata
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from operators.kernels.jit import kernel
from operators.kernels.lower import REPLACEMENT, decode

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# The languages that the model tells apart, as ISO 639 codes (two letters where there are), in its order.
_LABELS = """
af am ar as az be bg bn br bs ca cs cy da de el en eo es et eu fa fi fr fy ga gd gl gu ha he hi hr ht hu hy id
ig is it ja jv ka kk km kn ko ku ky la lg ln lo lt lv mg mk ml mn mr ms my ne nl no om or pa pl ps pt qu ro ru
sa si sk sl so sq sr sv sw ta te th tl tr ug uk ur uz vi xh yo zh zu zxx ace bcl dz ext gcf gom grc gug hbo
kik nso pcm rw se sn st an ary crh fo fuv gcr guw kab lb lij ltg uzs wa sdh arz ba mt nn oc tg tk tt vec vo
wuu yue
"""
LANGUAGES = tuple(_LABELS.split())
MODEL = "c0cb54aa1008854a8a462dd2bdf48e26"  # BLAKE2b of its tables: another model is another operator
_MODEL_OF = "py3langid 0.4"

# Bits of a code point's class.
_SMALL, _CAPITAL, _COMPOSES = 1, 2, 4
_PLANES = 0x31350  # nothing that has a case or composes lies beyond
_HANGUL = (0x1161, 0x1176, 0x11A8, 0x11C3)  # vowels and final consonants
_LOCK = threading.Lock()


class Model(NamedTuple):
    """S states, F features, C columns (two labels have two of them).

    move: (rows * 256,) uint32, the state behind a row's state and a byte. row: (S,) uint16. feature: (S,)
    int32, -1 for none. weights: (F, C) float32. prior: (C,) float32. label: (C,) int64, places in LANGUAGES.
    """

    move: npt.NDArray[np.uint32]
    row: npt.NDArray[np.uint16]
    feature: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    prior: npt.NDArray[np.float32]
    label: Int64s


def load_model() -> Model:
    """The model, loaded once a process (0.5 s, 100 MB).

    ModuleNotFoundError without py3langid, ValueError where it has another model."""
    with _LOCK:
        return _load()


@lru_cache(maxsize=1)
def _load() -> Model:
    from py3langid import langid

    own = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE)
    try:
        move, row = np.frombuffer(own.tk_nextmove, np.uint32), np.frombuffer(own.tk_row, np.uint16)
        feature, half = np.array(own.tk_output, np.int32), np.asarray(own.nb_ptc, np.float16)
    except (AttributeError, ValueError) as error:
        raise ValueError(f"this py3langid keeps its model in another way; install {_MODEL_OF}") from error
    prior = np.asarray(own.nb_pc, np.float32)
    digest = hashlib.blake2b(digest_size=16)
    for table in (move, row, feature, half, prior):
        digest.update(table.tobytes())
    digest.update("".join(own.nb_classes).encode())
    if digest.hexdigest() != MODEL:
        raise ValueError(
            f"this py3langid has another model ({digest.hexdigest()}) than {_MODEL_OF}, and would give other "
            f"languages under the same name; install {_MODEL_OF}"
        )
    label = np.array([LANGUAGES.index(name) for name in own.nb_classes], np.int64)
    return Model(move, row, feature, half.astype(np.float32), prior, label)


def language_scores(data: Bytes, starts: Int64s, ends: Int64s) -> tuple[Floats, Int64s]:
    """(n, C) log posteriors of n texts and (n,) how many of the model's features each has; at 0 features
    only the prior is left. The texts are what `prepared` gives."""
    model = load_model()
    longest = int((ends - starts).max(initial=0))
    logs = np.log1p(np.arange(longest + 1, dtype=np.float64))
    scratch = np.zeros(len(model.weights), np.int32), np.empty(longest, np.int32), logs
    scores = np.empty((len(starts), len(model.prior)))
    found = np.zeros(len(starts), np.int64)
    _score(data, starts, ends, tuple(model), scratch, scores, found)
    return scores, found


@kernel
def _score(data: Any, starts: Any, ends: Any, model: Any, scratch: Any, scores: Any, found: Any) -> None:
    move, rows, feature, weights, prior, _ = model
    counts, seen, logs = scratch
    columns = len(prior)
    for text in range(len(starts)):
        state, many = np.int64(0), 0
        for i in range(starts[text], ends[text]):
            state = np.int64(move[(np.int64(rows[state]) << 8) + data[i]])
            f = feature[state]
            if f >= 0:
                if counts[f] == 0:
                    seen[many] = f
                    many += 1
                counts[f] += 1
        for j in range(columns):
            scores[text, j] = prior[j]
        for k in range(many):
            f = seen[k]
            log = logs[counts[f]]
            counts[f] = 0
            for j in range(columns):
                scores[text, j] += log * weights[f, j]
        found[text] = many


def prepared(data: Bytes, starts: Int64s, ends: Int64s) -> tuple[Bytes, Int64s, Int64s]:
    """The texts in the form that the model was trained on: Unicode's NFC, and lower case where all letters
    are capitals. Most texts are in it, and are not copied."""
    flags = np.zeros(len(starts), np.bool_)
    _find_unprepared(data, starts, ends, _classes(), flags)
    if not flags.any():
        return data, starts, ends
    odd = np.flatnonzero(flags)
    fixed = [_formed(data[starts[i] : ends[i]].tobytes()) for i in odd.tolist()]
    bounds = np.cumsum([0, *map(len, fixed)])
    low, high = int(starts.min()), int(ends.max())
    starts, ends = starts - low, ends - low
    starts[odd], ends[odd] = bounds[:-1] + high - low, bounds[1:] + high - low
    return np.concatenate([data[low:high], np.frombuffer(b"".join(fixed), np.uint8)]), starts, ends


@kernel
def _find_unprepared(data: Any, starts: Any, ends: Any, classes: Any, out: Any) -> None:
    """Writes whether a text is perhaps not in the form that the model was trained on."""
    for text in range(len(starts)):
        i, end, bits = starts[text], ends[text], 0
        while i < end:
            byte = data[i]
            point, after = np.int64(byte), i + 1
            if byte >= 0x80:
                point, after = decode(data, i, end)
                if point == REPLACEMENT and after == i + 1:  # no UTF-8
                    bits = _COMPOSES
                    break
            if point < len(classes):
                bits |= classes[point]
            i = after
        out[text] = bits & _COMPOSES != 0 or bits == _CAPITAL


@lru_cache(maxsize=1)
def _classes() -> Bytes:
    """(0x31350,) uint8 by code point: _SMALL (title case too), _CAPITAL, and _COMPOSES for whatever is not in
    every text left alone by NFC."""
    points = np.arange(_PLANES, dtype=np.uint32)
    points[0xD800:0xE000] = 0xFFFD
    chars = points.view("<U1")
    capital = np.strings.isupper(chars)
    small = np.strings.islower(chars) | (np.strings.istitle(chars) & ~capital)
    table = np.where(capital, _CAPITAL, np.where(small, _SMALL, 0)).astype(np.uint8)
    for point in range(0x80, _PLANES):
        parts = unicodedata.decomposition(chr(point)) if point not in _IDEOGRAPHS else ""
        if parts and not parts.startswith("<"):
            pieces = [int(part, 16) for part in parts.split()]
            table[pieces[1:]] |= _COMPOSES
            if not unicodedata.is_normalized("NFC", chr(point)):
                table[point] |= _COMPOSES
        elif unicodedata.combining(chr(point)):
            table[point] |= _COMPOSES
    for first, last in (_HANGUL[:2], _HANGUL[2:]):
        table[first:last] |= _COMPOSES
    return table


_IDEOGRAPHS = range(0x3400, 0xA000)


def _formed(text: bytes) -> bytes:
    """What py3langid makes of a text before it reads it."""
    from py3langid.langid import LanguageIdentifier

    form: bytes = LanguageIdentifier._encode(text)
    return form
