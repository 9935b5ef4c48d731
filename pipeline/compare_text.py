"""Two documents side by side: the samples of what was dropped, with the words that differ marked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

MOST_CHARACTERS = 1200
MOST_SAMPLES = 6  # of one reason of one node
MOST_PAIRS = 20_000  # of equal words; beyond, frequent words are left out, as the search is quadratic in them
ALIKE = 0.3  # below this share of common words, marks would cover everything and say nothing

# Words and single signs, each with the white space after it; letters of scripts without spaces one by one.
_WORDS = re.compile(
    r"(?:[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]|\w{1,40}|[^\w\s])\s*|\s+"
)

Pieces = list[tuple[str, bool]]  # consecutive text and whether the other document lacks it


@dataclass(frozen=True)
class Document:
    """One side of a sample."""

    title: str
    domain: str
    pieces: Pieces
    cut: bool


@dataclass(frozen=True)
class Sample:
    """A dropped document, the one that was kept for it if there is one, and the evidence."""

    dropped: Document
    kept: Document | None
    evidence: list[tuple[str, Any]]
    note: str  # why nothing is marked


@dataclass(frozen=True)
class SampleGroup:
    """The samples of one reason of one node."""

    node: str
    reason: str
    samples: list[Sample]
    left_out: int


def sample_groups(samples: Sequence[Mapping[str, Any]]) -> list[SampleGroup]:
    """The samples by node and reason, in the order in which they come."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for sample in samples:
        groups.setdefault((str(sample.get("node")), str(sample.get("reason"))), []).append(sample)
    return [
        SampleGroup(node, reason, [_sample(s) for s in members[:MOST_SAMPLES]], len(members[MOST_SAMPLES:]))
        for (node, reason), members in groups.items()
    ]


def _sample(sample: Mapping[str, Any]) -> Sample:
    gone, kept = sample.get("dropped") or {}, sample.get("kept")
    evidence = list((sample.get("evidence") or {}).items())
    a = (gone.get("text") or "")[:MOST_CHARACTERS]
    if kept is None:
        return Sample(_document(gone, [(a, False)]), None, evidence, "")
    b = (kept.get("text") or "")[:MOST_CHARACTERS]
    left, right = differing_words(a, b)
    marked = any(differs for _, differs in left + right)
    note = "" if marked else "no difference in what is shown" if a == b else "differences not marked"
    return Sample(_document(gone, left), _document(kept, right), evidence, note)


def _document(row: Mapping[str, Any], pieces: Pieces) -> Document:
    name = row.get("id")
    title = str(name) if name not in (None, "") else f"uid {row.get('uid')}"
    cut = len(row.get("text") or "") >= MOST_CHARACTERS
    return Document(title, str(row.get("domain") or ""), [p for p in pieces if p[0]], cut)


def differing_words(a: str, b: str) -> tuple[Pieces, Pieces]:
    """Both texts in pieces, True where the other lacks them, white space apart; texts with too little in
    common stay whole."""
    left, right = _WORDS.findall(a), _WORDS.findall(b)
    matcher = _matcher([word.rstrip() for word in left], [word.rstrip() for word in right])
    if matcher.ratio() < ALIKE:
        return [(a, False)], [(b, False)]
    first: Pieces = []
    second: Pieces = []
    for tag, i, j, k, m in matcher.get_opcodes():
        first += _piece(left[i:j], tag != "equal")
        second += _piece(right[k:m], tag != "equal")
    return first, second


def _matcher(left: list[str], right: list[str]) -> SequenceMatcher[str]:
    often = Counter(right)
    repetitive = sum(often[word] for word in left) > MOST_PAIRS
    return SequenceMatcher(None, left, right, autojunk=repetitive)


def _piece(words: list[str], differs: bool) -> Pieces:
    """The words as one piece; the white space after marked ones is not marked."""
    text = "".join(words)
    end = len(text.rstrip()) if differs else len(text)
    return [(text[:end], differs), (text[end:], False)]
