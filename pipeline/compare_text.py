"""Two documents side by side: the samples of what was dropped, with the words that differ marked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

MOST_CHARACTERS = 1200
MOST_SAMPLES = 6  # of one reason of one node
ALIKE = 0.3  # below this share of common words, marks would cover everything and say nothing

# Words, runs of white space, single signs; letters of scripts without spaces one by one.
_WORDS = re.compile(
    r"[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]|\w{1,40}|\s+|[^\w\s]"
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
    marked: bool


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
        return Sample(_document(gone, [(a, False)]), None, evidence, False)
    b = (kept.get("text") or "")[:MOST_CHARACTERS]
    left, right, marked = differing_words(a, b)
    return Sample(_document(gone, left), _document(kept, right), evidence, marked)


def _document(row: Mapping[str, Any], pieces: Pieces) -> Document:
    name = row.get("id")
    title = str(name) if name not in (None, "") else f"uid {row.get('uid')}"
    cut = len(row.get("text") or "") >= MOST_CHARACTERS
    return Document(title, str(row.get("domain") or ""), [p for p in pieces if p[0]], cut)


def differing_words(a: str, b: str) -> tuple[Pieces, Pieces, bool]:
    """Both texts in pieces, True where the other lacks them, and whether they are alike enough for that
    to help; if they are not, each text is one piece."""
    left, right = _WORDS.findall(a), _WORDS.findall(b)
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    if a == b or matcher.ratio() < ALIKE:
        return [(a, False)], [(b, False)], a == b
    first: Pieces = []
    second: Pieces = []
    for tag, i, j, k, m in matcher.get_opcodes():
        first.append(("".join(left[i:j]), tag != "equal"))
        second.append(("".join(right[k:m]), tag != "equal"))
    return _bridged(first), _bridged(second), True


def _bridged(pieces: Pieces) -> Pieces:
    """Neighbouring marks joined over the blanks between them."""
    result: Pieces = []
    for i, (text, differs) in enumerate(pieces):
        blank = text.strip(" ") == "" and 0 < i < len(pieces) - 1 and pieces[i - 1][1] and pieces[i + 1][1]
        differs = differs or blank
        if result and result[-1][1] == differs:
            result[-1] = (result[-1][0] + text, differs)
        else:
            result.append((text, differs))
    return result
