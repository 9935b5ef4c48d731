"""The published quality rules (Gopher, C4, FineWeb), all of them in one pass over the text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from operators.contract import CUTS, DROP, TEXT, Adds, Columns, MapOp, Reads, Uses, drop_column
from operators.kernels import grams, quality
from operators.kernels.cuts import deletions
from operators.kernels.quality import Counting
from operators.kernels.text_buffers import text_buffers

Number = Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
Share = Annotated[float, Field(ge=0, le=1)] | None
Count = Annotated[int, Field(ge=0)] | None
Shares = Mapping[int, Annotated[float, Field(ge=0)]]
Group = Literal["gopher_quality", "gopher_repetition", "c4", "fineweb"]
Statistics = Mapping[str, npt.NDArray[np.float64]]

_TOP_GRAMS: Shares = {2: 0.2, 3: 0.18, 4: 0.16}
_REPEATED_GRAMS: Shares = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1}
_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")

# Of each group (the reason why a document goes, the statistic, the field that bounds it), in the order in
# which they are tried. A bound named min is the least that stays, one named max the most.
_RULES: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "gopher_quality": (
        ("gopher_few_words", "words", "min_words"),
        ("gopher_many_words", "words", "max_words"),
        ("gopher_short_words", "word_length", "min_word_length"),
        ("gopher_long_words", "word_length", "max_word_length"),
        ("gopher_hashes", "hashes", "max_hashes"),
        ("gopher_ellipses", "ellipses", "max_ellipses"),
        ("gopher_bullet_lines", "bullet_lines", "max_bullet_lines"),
        ("gopher_ellipsis_lines", "ellipsis_lines", "max_ellipsis_lines"),
        ("gopher_alpha_words", "alpha_words", "min_alpha_words"),
        ("gopher_stop_words", "stop_words", "min_stop_words"),
    ),
    "gopher_repetition": (
        ("gopher_repeated_paragraphs", "repeated_paragraphs", "max_repeated_paragraphs"),
        (
            "gopher_repeated_paragraph_characters",
            "repeated_paragraph_characters",
            "max_repeated_paragraph_characters",
        ),
        ("gopher_repeated_lines", "repeated_lines", "max_repeated_lines"),
        ("gopher_repeated_line_characters", "repeated_line_characters", "max_repeated_line_characters"),
    ),
    "c4": (
        ("c4_lorem_ipsum", "lorem_ipsum", "c4_lorem_ipsum"),
        ("c4_curly_bracket", "curly_bracket", "c4_curly_bracket"),
        ("c4_few_sentences", "sentences", "c4_min_sentences"),
        ("c4_bad_words", "bad_words", "c4_bad_words"),
    ),
    "fineweb": (
        ("fineweb_line_ends", "line_ends", "min_line_ends"),
        ("fineweb_short_lines", "short_lines", "max_short_lines"),
        ("fineweb_repeated_characters", "repeated_characters", "max_repeated_characters"),
        ("fineweb_line_feeds", "line_feeds", "max_line_feeds"),
    ),
}
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "gopher_quality": ("stop_words",),
    "gopher_repetition": ("max_top_grams", "max_repeated_grams"),
    "c4": ("c4_min_line_words", "c4_max_word", "c4_line_ends"),
    "fineweb": ("short_line",),
}


class QualityRules(MapOp):
    """Drops documents by the rules of Gopher, C4 and FineWeb, each with its published threshold.

    A document goes for the first rule that it breaks, in the order of `rules`; `value` is the statistic that
    decided. With `statistics: true` every statistic of the chosen rules is a float32 column (the verdict is
    made on float64), so that thresholds can be chosen by looking. None as a threshold turns a rule off.

    Sources. `gopher_quality`, `gopher_repetition`: Rae et al. 2021 (https://arxiv.org/abs/2112.11446),
    appendix A.1 and table A1, in datatrove's reading. `c4`: Raffel et al. 2020
    (https://jmlr.org/papers/v21/20-074.html), section 2.2, as its code (TensorFlow Datasets,
    c4_utils.clean_page) has it. `fineweb`: Penedo et al. 2024 (https://arxiv.org/abs/2406.17557), section
    3.6, with the thresholds of datatrove's filter.

    What is counted. A *run* is what white space surrounds (`str.split`); a *word* is a run without whatever
    is no letter or number at its ends, so `(e.g.,` has the 3 characters of `e.g`; a run without any is no
    word. Gopher counts words, their mean length and stop words; ratios (# and ellipses, line feeds, runs
    with a letter) are by runs, and n-grams are of runs. datatrove splits punctuation off into words of its
    own (spaCy), so its counts are larger and its ratios smaller. Texts in scripts without spaces have one
    run a line: give them only `fineweb`, or thresholds of their own. A line ends with a line feed, a carriage
    return before it apart; lines of white space alone count only in the shares of bullet and ellipsis
    lines; paragraphs have an empty line between them and are compared without white space around them.
    Characters are code points; each byte of invalid UTF-8 is one. A null is an empty text.

    Repeated n-grams are read from left to right: one that came before adds its characters, and none of its
    words is counted twice. Equal lines, paragraphs and n-grams are those with equal 63-bit hashes.

    `c4` also edits: lines that it does not keep, citations such as [3] and white space around lines are
    `cuts`, and `lines_cut` says how many lines went; nothing of a dropped document is cut. As in C4's code,
    'lorem ipsum' and curly brackets condemn a document only in lines that it would keep. Sentences are runs
    that end with . ? or !, at least one a line, where C4 has NLTK's. All rules judge the text as it was
    before the cuts: put `c4` in a node of its own above to have the others judge what it left.
    """

    version: ClassVar[int] = 1
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"min_words": 5, "statistics": True},
        {"rules": ["c4"], "c4_min_sentences": 1, "c4_min_line_words": 2, "c4_bad_words": ["mason", "b.ker"]},
        {"rules": ["fineweb", "gopher_repetition", "c4"], "min_line_ends": None, "c4_line_ends": False},
    )

    rules: Annotated[tuple[Group, ...], Field(min_length=1)] = (
        "gopher_quality", "gopher_repetition", "fineweb",
    )  # fmt: skip
    """Which rules, in the order in which they are tried; `c4` is no default because it edits the text."""
    statistics: bool = False
    """Whether all statistics of the rules become columns."""

    min_words: Count = 50
    """Gopher: the fewest words."""
    max_words: Count = 100_000
    """Gopher: the most words."""
    min_word_length: Number = 3
    """Gopher: the least mean length of a word, in characters."""
    max_word_length: Number = 10
    """Gopher: the greatest mean length of a word."""
    max_hashes: Number = 0.1
    """Gopher: the most # for each run."""
    max_ellipses: Number = 0.1
    """Gopher: the most ellipses (`...` or U+2026) for each run."""
    max_bullet_lines: Share = 0.9
    """Gopher: the greatest share of lines that begin with a bullet (U+2022 or -)."""
    max_ellipsis_lines: Share = 0.3
    """Gopher: the greatest share of lines that end with an ellipsis."""
    min_alpha_words: Share = 0.8
    """Gopher: the least share of runs with a letter."""
    min_stop_words: Count = 2
    """Gopher: how many different stop words there must be."""
    stop_words: Annotated[tuple[str, ...], Field(max_length=64)] = _STOP_WORDS
    """Gopher: its list of eight, compared as they are written; at most 64, none with white space."""

    max_repeated_lines: Share = 0.3
    """Gopher: the greatest share of lines that came before."""
    max_repeated_paragraphs: Share = 0.3
    """Gopher: the greatest share of paragraphs that came before."""
    max_repeated_line_characters: Share = 0.2
    """Gopher: the greatest share of characters in lines that came before."""
    max_repeated_paragraph_characters: Share = 0.2
    """Gopher: the greatest share of characters in paragraphs that came before."""
    max_top_grams: Shares = _TOP_GRAMS
    """Gopher: n (2 to 4) and the greatest share of characters in the most frequent n-gram."""
    max_repeated_grams: Shares = _REPEATED_GRAMS
    """Gopher: n (5 to 10) and the greatest share of characters in n-grams that came before."""

    c4_min_line_words: Annotated[int, Field(ge=1)] = 5
    """C4: the fewest runs of a line that stays (datatrove: 3)."""
    c4_max_word: Annotated[int, Field(ge=1)] = 1000
    """C4: the most characters of a run in a line that stays."""
    c4_line_ends: bool = True
    """C4: whether a line must end with . ? ! or a double quote, and not with `...`, to stay."""
    c4_min_sentences: Count = 3
    """C4: the fewest sentences in the lines that stay (datatrove: 5)."""
    c4_lorem_ipsum: bool = True
    """C4: whether documents with 'lorem ipsum' go."""
    c4_curly_bracket: bool = True
    """C4: whether documents with a curly bracket go."""
    c4_bad_words: tuple[str, ...] = ()
    """C4: words or phrases for which a document goes, in any case, where no letter or number is beside
    them; none come with tamis."""

    min_line_ends: Share = 0.12
    """FineWeb: the least share of lines that end with a mark that ends sentences (Sentence_Terminal)."""
    max_short_lines: Share = 0.67
    """FineWeb: the greatest share of short lines."""
    short_line: Annotated[int, Field(ge=0)] = 30
    """FineWeb: the most characters of a short line."""
    max_repeated_characters: Share = 0.01
    """FineWeb: the greatest share of characters in lines that came before, line feeds not counted."""
    max_line_feeds: Number = 0.3
    """FineWeb: the most line feeds for each run."""

    @model_validator(mode="after")
    def _fields_go_together(self) -> QualityRules:
        if len(set(self.rules)) < len(self.rules):
            raise ValueError(f"quality_rules: rules names one twice: {', '.join(self.rules)}")
        for group, rules in _RULES.items():
            mine = {field for _, _, field in rules} | set(_FIELDS[group])
            set_ = [name for name in mine if getattr(self, name) != type(self).model_fields[name].default]
            lost = sorted(set_) if group not in self.rules else []
            if lost:
                raise ValueError(f"quality_rules: {lost[0]} is for {group}, which is not among rules; add it")
        _check_sizes("max_top_grams", self.max_top_grams, grams.TOP, grams.LAST_TOP)
        _check_sizes("max_repeated_grams", self.max_repeated_grams, grams.LAST_TOP + 1, grams.LAST)
        for least, most in (("min_words", "max_words"), ("min_word_length", "max_word_length")):
            low, high = getattr(self, least), getattr(self, most)
            if low is not None and high is not None and low > high:
                raise ValueError(f"quality_rules: {least} is {low}, above {most}, {high}: no text would stay")
        if self.min_stop_words is not None and self.min_stop_words > len(set(self.stop_words)):
            raise ValueError(
                f"quality_rules: min_stop_words is {self.min_stop_words}, but stop_words has only "
                f"{len(set(self.stop_words))}: no text would stay; list more, or set min_stop_words to null"
            )
        odd = [word for word in (*self.stop_words, *self.c4_bad_words) if not word.strip()]
        odd += [word for word in self.stop_words if word.split() != [word]]
        if odd:
            raise ValueError(
                f"quality_rules: {odd[0]!r} is no word; list words without white space around them"
            )
        return self

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        edits = {"cuts": CUTS, "lines_cut": pa.int32()} if "c4" in self.rules else {}
        names = [name for group in self.rules for name in self._statistics(group)] if self.statistics else []
        return {"drop": DROP, "value": pa.float32(), **edits, **dict.fromkeys(names, pa.float32())}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        texts = text_buffers(batch.column("text"))
        counts, cut = quality.count(texts, self._counting())
        known = dict(zip(quality.NAMES, counts.T, strict=True))
        found = _ratios(known)
        if "c4" in self.rules:
            found["bad_words"] = self._bad_words(batch.column("text"))
        reasons, values, names = self._verdicts(found, len(counts))
        out = {"drop": drop_column(reasons, names), "value": pa.array(values, pa.float32(), mask=reasons < 0)}
        if "c4" in self.rules:
            out |= _edits(known, cut, texts[1], reasons >= 0)
        shown = [name for name in self.adds if name not in out]
        return out | {name: pa.array(found[name].astype(np.float32)) for name in shown}

    def _statistics(self, group: str) -> list[str]:
        """The statistics of a group, in order."""
        return list(dict.fromkeys(statistic for _, statistic, _ in _rules(group)))

    def _counting(self) -> Counting:
        c4 = (
            "c4" in self.rules, self.c4_min_line_words, self.c4_max_word, self.c4_line_ends,
            self.c4_lorem_ipsum, self.c4_curly_bracket,
        )  # fmt: skip
        return Counting(self.stop_words, self.short_line, "gopher_repetition" in self.rules, c4)

    def _bad_words(self, texts: pa.Array) -> npt.NDArray[np.float64]:
        """(n,) 1.0 where a bad word is."""
        if not self.c4_bad_words:
            return np.zeros(len(texts))
        words = "|".join(map(re.escape, self.c4_bad_words))
        pattern = rf"(?i)(?:^|[^\pL\pN_])(?:{words})(?:$|[^\pL\pN_])"
        found = pc.fill_null(pc.match_substring_regex(texts, pattern), False)
        return np.asarray(found).astype(np.float64)

    def _verdicts(self, known: Statistics, rows: int) -> Any:
        """(n,) the number of the first broken rule or -1, (n,) its statistic, and the rules' reasons."""
        reasons, values = np.full(rows, -1), np.zeros(rows)
        names: list[str] = []
        for reason, statistic, bound, least in self._bounds():
            found = known[statistic]
            broken = (found < bound if least else found > bound) & (reasons < 0)
            reasons[broken], values[broken] = len(names), found[broken]
            names.append(reason)
        return reasons, values, names

    def _bounds(self) -> Iterator[tuple[str, str, float, bool]]:
        """(reason, statistic, bound, whether it is the least) of every rule that is on."""
        for group in self.rules:
            for reason, statistic, field in _rules(group):
                name, _, n = field.partition(".")
                bound = getattr(self, name).get(int(n)) if n else getattr(self, name)
                if isinstance(bound, bool | tuple):  # where it is so, the document goes
                    bound = 0 if bound else None
                if bound is not None:
                    yield reason, statistic, bound, "min_" in field


def _rules(group: str) -> tuple[tuple[str, str, str], ...]:
    """The rules of a group; those of n-grams are bounded by what a field has for n (`field.n`)."""
    if group != "gopher_repetition":
        return _RULES[group]
    top = [(f"top_{n}grams", f"max_top_grams.{n}") for n in range(grams.TOP, grams.LAST_TOP + 1)]
    rest = [
        (f"repeated_{n}grams", f"max_repeated_grams.{n}") for n in range(grams.LAST_TOP + 1, grams.LAST + 1)
    ]
    return *_RULES[group], *((f"gopher_{name}", name, field) for name, field in top + rest)


def _check_sizes(field: str, given: Shares, least: int, most: int) -> None:
    wrong = [n for n in given if not least <= n <= most]
    if wrong:
        raise ValueError(f"quality_rules: {field} is for n of {least} to {most}, not {wrong[0]}")


def _ratios(known: Mapping[str, Any]) -> dict[str, npt.NDArray[np.float64]]:
    """The statistics from counts; 0 of nothing is 0."""

    def ratio(part: str, whole: Any) -> npt.NDArray[np.float64]:
        return np.divide(known[part], whole, out=np.zeros(len(whole)), where=whole > 0)

    characters, runs, lines = known["characters"], known["runs"], known["full_lines"]
    found = {
        "words": known["words"].astype(np.float64),
        "word_length": ratio("word_characters", known["words"]),
        "hashes": ratio("hashes", runs),
        "ellipses": ratio("ellipses", runs),
        "bullet_lines": ratio("bullet_lines", known["lines"]),
        "ellipsis_lines": ratio("ellipsis_lines", known["lines"]),
        "alpha_words": ratio("alpha_runs", runs),
        "stop_words": known["stop_words"].astype(np.float64),
        "repeated_lines": ratio("repeated_lines", lines),
        "repeated_paragraphs": ratio("repeated_paragraphs", known["paragraphs"]),
        "repeated_line_characters": ratio("repeated_line_characters", characters),
        "repeated_paragraph_characters": ratio("repeated_paragraph_characters", characters),
        "lorem_ipsum": known["lorem_ipsum"].astype(np.float64),
        "curly_bracket": known["curly_brackets"].astype(np.float64),
        "sentences": known["sentences"].astype(np.float64),
        "line_ends": ratio("terminal_lines", lines),
        "short_lines": ratio("short_lines", lines),
        "repeated_characters": ratio("repeated_line_characters", characters - known["line_feeds"]),
        "line_feeds": ratio("line_feeds", runs),
    }
    for n in range(grams.TOP, grams.LAST + 1):
        name = f"top_{n}grams" if n <= grams.LAST_TOP else f"repeated_{n}grams"
        found[name] = ratio(f"grams_{n}", characters)
    return found


def _edits(known: Mapping[str, Any], cut: Any, starts: Any, dropped: Any) -> dict[str, pa.Array]:
    """What C4 cuts from the documents that stay."""
    cut = cut[~dropped[cut[:, 0]]]
    row = cut[:, 0]
    lines = np.where(dropped, 0, known["full_lines"] - known["kept_lines"])
    return {
        "cuts": deletions(row, cut[:, 1] - starts[row], cut[:, 2] - starts[row], len(starts)),
        "lines_cut": pa.array(lines.astype(np.int32)),
    }
