"""Six readability formulas of English prose from one count of each text."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.contract import TEXT, Adds, Columns, MapOp, Reads, Uses
from operators.kernels import prose
from operators.kernels.text_buffers import text_buffers

Floats = npt.NDArray[np.float64]

SCORES = ("flesch_reading_ease", "flesch_kincaid", "gunning_fog", "smog", "coleman_liau", "ari")
COUNTS = ("words", "sentences", "syllables", "polysyllables")


class Readability(MapOp):
    """Adds six scores (float32) of how hard English prose is to read, and the counts that they are made of.

    Of w words, s sentences, y syllables, l letters, a letters and digits, p words of three or more syllables
    and c complex ones:
    - `flesch_reading_ease`: 206.835 - 1.015 w/s - 84.6 y/w, about 100 (easy) to 0 (Flesch 1948);
    - `flesch_kincaid`: 0.39 w/s + 11.8 y/w - 15.59, a school grade as all below (Kincaid et al. 1975);
    - `gunning_fog`: 0.4 (w/s + 100 c/w) (Gunning 1952); complex are words of three or more syllables, not
      counting a last -es, -ed or -ing, but no compounds with a hyphen and no names (a capital, unless the
      sentence begins with it);
    - `smog`: 1.0430 sqrt(30 p/s) + 3.1291 (McLaughlin 1969, made for 30 sentences);
    - `coleman_liau`: 0.0588 L - 0.296 S - 15.8, letters and sentences per 100 words (Coleman & Liau 1975);
    - `ari`: 4.71 a/w + 0.5 w/s - 21.43 (Smith & Senter 1967).
    A text without words (null, empty) has nulls, and zeros as counts `words`, `sentences`, `syllables`,
    `polysyllables` (int64).

    A word is a run between white space without whatever is no letter or number at its ends. A sentence ends
    at a run whose last character, closing quotes and brackets apart, is a Unicode sentence terminal, at an
    empty line, and at the end; initials and short abbreviations with inner stops (J., e.g.) end none, others
    (Dr.) do. Syllables are counted by letters (`kernels/syllables.py`: 98 % of words as the CMU dictionary
    has them; digits are no syllables, a word has at least one). All of it is English only: other alphabets
    have one syllable a word, texts without spaces one word a line, and code, tables and lists without full
    stops are sentences of hundreds of words; so sort a mixed corpus within a language and a domain only.

    What to expect: 60 MB of documentation a CPU-second, 70 to 150 times textstat 0.7.13 with the CMU
    dictionary. Rank correlations with textstat (Spearman; 300 texts each of gsm8k, package descriptions and
    documentation): Flesch .95, .91, .91, Flesch-Kincaid .94, .87, .85, fog .79, .68, .77, SMOG .89, .86, .77,
    Coleman-Liau .97, .99, .90, ARI .97, .91, .86. The words agree; textstat has other sentences (none at an
    empty line, those of two words or less left out), its fog has only words that its easy list lacks, its ARI
    counts punctuation. What these scores are not is what a language model finds hard: with the loss of a
    small model of stories no one correlates by more than .29 on four corpora (gsm8k, film reviews, Bible
    verses, documentation).
    """

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        return {**dict.fromkeys(SCORES, pa.float32()), **dict.fromkeys(COUNTS, pa.int64())}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        table = prose.count(*text_buffers(batch.column("text")))
        counts = {name: table[:, place] for place, name in enumerate(prose.NAMES)}
        none = counts["words"] == 0
        known = scores({name: np.where(none, 1, values) for name, values in counts.items()})
        return {
            **{name: pa.array(known[name].astype(np.float32), pa.float32(), mask=none) for name in SCORES},
            **{name: pa.array(counts[name], pa.int64()) for name in COUNTS},
        }


def scores(counts: Mapping[str, npt.NDArray[np.int64]]) -> dict[str, Floats]:
    """The scores (n,) from counts (n,) under the names of `kernels/prose.py`, of at least one word."""
    words, sentences = counts["words"].astype(np.float64), counts["sentences"].astype(np.float64)
    length, heard = words / sentences, counts["syllables"] / words
    return {
        "flesch_reading_ease": 206.835 - 1.015 * length - 84.6 * heard,
        "flesch_kincaid": 0.39 * length + 11.8 * heard - 15.59,
        "gunning_fog": 0.4 * (length + 100 * (counts["complex_words"] / words)),
        "smog": 1.0430 * np.sqrt(30 * (counts["polysyllables"] / sentences)) + 3.1291,
        "coleman_liau": 5.88 * (counts["letters"] / words) - 29.6 * (sentences / words) - 15.8,
        "ari": 4.71 * (counts["alphanumeric"] / words) + 0.5 * length - 21.43,
    }
