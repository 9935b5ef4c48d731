"""C4's judgement of a line (Raffel et al. 2020, section 2.2, as in TensorFlow Datasets' `clean_page`)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from operators.kernels.jit import part
from operators.kernels.lower import DIGIT, SPACE, decode

# Places in what is found of a text, and in the state of its cuts: where the next one begins, and how many.
LOREM_IPSUM, CURLY, SENTENCES, KEPT = range(4)
FROM, CUTS = range(2)
_GOES, _STAYS = 4, 5  # verdicts beside LOREM_IPSUM and CURLY

_PHRASES = (
    "lorem ipsum", "javascript", "terms of use", "privacy policy", "cookie policy", "uses cookies",
    "use of cookies", "use cookies",
)  # fmt: skip
_LOREM, _SCRIPT = 1, 2  # bits of the first two; the others are policies
_LETTERS = np.zeros((len(_PHRASES), 16), np.uint8)
_STARTS = np.zeros(256, np.uint8)
for _number, _phrase in enumerate(_PHRASES):
    _LETTERS[_number, : len(_phrase)] = list(_phrase.encode())
    _STARTS[[ord(_phrase[0]), ord(_phrase[0].upper())]] |= np.uint8(1 << _number)
_EDIT = np.frombuffer(b"edit]", np.uint8)
_NEEDED = np.frombuffer(b"citation needed]", np.uint8)
_LINE_FEED, _BRACKET, _CLOSE, _CURLY = 10, 91, 93, 123
_STOP, _QUESTION, _EXCLAMATION, _QUOTE = 46, 63, 33, 34
_APOSTROPHE, _PARENTHESIS, _RIGHT_SINGLE, _RIGHT_DOUBLE = 39, 41, 0x2019, 0x201D


@part
def _follows(data: Any, at: int, end: int, letters: Any) -> bool:
    """Whether these bytes (a zero ends them) stand at data[at:end], ASCII letters in either case."""
    k = 0
    while k < len(letters) and letters[k] != 0:
        if at + k >= end:
            return False
        byte = data[at + k]
        if byte != letters[k] and not (65 <= byte <= 90 and byte + 32 == letters[k]):
            return False
        k += 1
    return True


@part
def _citation_end(data: Any, at: int, end: int, classes: Any) -> int:
    """Where `[12]`, `[]`, `[edit]` or `[citation needed]` that begins at the bracket at `at` ends, or -1."""
    i = at + 1
    for k in range(len(_NEEDED)):
        if i + k >= end or data[i + k] != _NEEDED[k]:
            break
        if k == len(_NEEDED) - 1:
            return i + len(_NEEDED)
    for k in range(len(_EDIT)):
        if i + k >= end or data[i + k] != _EDIT[k]:
            break
        if k == len(_EDIT) - 1:
            return i + len(_EDIT)
    while i < end and data[i] != _CLOSE:
        point, after = decode(data, i, end)
        if classes[point] & DIGIT == 0:
            return -1
        i = after
    return i + 1 if i < end else -1


@part
def _ink(data: Any, start: int, end: int, classes: Any) -> Any:
    """(first byte that is no white space, the one behind the last, runs) of data[start:end]."""
    i, first, last, runs, inside = start, end, start, 0, False
    while i < end:
        point, after = decode(data, i, end)
        ink = classes[point] & SPACE == 0
        if ink:
            first, last = min(first, i), after
            runs += not inside
        inside, i = ink, after
    return first, last, runs


@part
def _judge(data: Any, start: int, end: int, runs: int, classes: Any, rules: Any) -> Any:
    """The verdict on a line without citations and white space at its ends, and its sentences if it stays:
    runs that end with . ? or !, closing quotes and brackets behind them or not; at least one."""
    _, fewest, _, terminal, lorem, curly = rules
    ends = start < end and data[end - 1] in (_STOP, _QUESTION, _EXCLAMATION, _QUOTE)
    if ends and end - start >= 3 and data[end - 1] == _STOP:
        ends = not (data[end - 2] == _STOP and data[end - 3] == _STOP)
    if (terminal and not ends) or runs < fewest:
        return _GOES, 0
    found, brackets, sentences, ended, i = 0, False, 0, 0, start
    while i < end:
        byte = data[i]
        point, after = np.int64(byte), i + 1
        if byte >= 0x80:
            point, after = decode(data, i, end)
        if _STARTS[byte]:
            for k in range(len(_LETTERS)):
                if _STARTS[byte] >> k & 1 and _follows(data, i, end, _LETTERS[k]):
                    found |= 1 << k
        brackets |= byte == _CURLY
        if point in (_STOP, _QUESTION, _EXCLAMATION):
            ended = 1
        elif classes[point] & SPACE:
            sentences, ended = sentences + ended, 0
        elif point not in (_QUOTE, _APOSTROPHE, _PARENTHESIS, _CLOSE, _RIGHT_SINGLE, _RIGHT_DOUBLE):
            ended = 0
        i = after
    if found & _LOREM and lorem:
        return LOREM_IPSUM, 0
    if found & _SCRIPT:
        return _GOES, 0
    if brackets and curly:
        return CURLY, 0
    if found & ~(_LOREM | _SCRIPT):
        return _GOES, 0
    return _STAYS, max(sentences + ended, 1)


@part
def _cut(row: int, start: int, end: int, cuts: Any, state: Any) -> None:
    if start < end:
        at = state[CUTS]
        cuts[at, 0], cuts[at, 1], cuts[at, 2] = row, start, end
        state[CUTS] = at + 1


@part
def _cut_between(data: Any, row: int, start: int, opened: bool, cuts: Any, state: Any) -> None:
    """Cuts all before the line that stays at byte `start`, but for the line feed behind the last one."""
    begin = state[FROM]
    if opened:
        feed = begin
        while data[feed] != _LINE_FEED:
            feed += 1
        _cut(row, begin, feed, cuts, state)
        begin = feed + 1
    _cut(row, begin, start, cuts, state)


@part
def c4_line(
    data: Any, start: int, end: int, runs: int, brackets: int, row: int, classes: Any, rules: Any,
    scratch: Any, cuts: Any, state: Any, found: Any,
) -> None:  # fmt: skip
    """Judges the line data[start:end], which has no white space at its ends, and adds it to found (4,) if it
    stays; then cuts what is between the last one and it, and its citations."""
    citations, edited = scratch
    many, at, size = 0, start, 0
    if brackets:
        while at < end:
            stop = _citation_end(data, at, end, classes) if data[at] == _BRACKET else -1
            if stop >= 0:
                citations[many, 0], citations[many, 1] = at, stop
                many, at = many + 1, stop
            else:
                edited[size] = data[at]
                size, at = size + 1, at + 1
    if many:
        _, _, left = _ink(edited, 0, size, classes)
        verdict, sentences = _judge(edited, 0, size, left, classes, rules)
    else:
        verdict, sentences = _judge(data, start, end, runs, classes, rules)
    if verdict != _STAYS:
        if verdict != _GOES:
            found[verdict] = 1
        return
    first, last, opened = end, start, found[KEPT] > 0
    for k in range(many + 1):  # between citations
        a = start if k == 0 else citations[k - 1, 1]
        b = end if k == many else citations[k, 0]
        ink, over, _ = (a, b, 1) if many == 0 else _ink(data, a, b, classes)
        if over > ink:
            first, last = min(first, ink), over
    _cut_between(data, row, first, opened, cuts, state)
    for k in range(many):
        if first < citations[k, 0] < last:
            _cut(row, citations[k, 0], citations[k, 1], cuts, state)
    state[FROM] = last
    found[SENTENCES] += sentences
    found[KEPT] += 1


@part
def c4_end(row: int, end: int, cuts: Any, state: Any) -> None:
    """Cuts all behind the last line that stays."""
    _cut(row, state[FROM], end, cuts, state)


CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")


def reference(text: str, fewest: int, most: int, terminal: bool) -> tuple[str, list[str]]:
    """What is left of a text, or the whole of it with the reason why it goes: 'lorem_ipsum', 'curly_bracket'
    or the sentences as decimal numbers; by Python's own strings."""
    lines, sentences = [], 0
    for line in text.split("\n"):
        if any(len(word) > most for word in line.split()):
            continue
        line = CITATION.sub("", line.strip())
        words = line.split()
        ends = line.endswith((".", "?", "!", '"')) and not line.endswith("...")
        if (terminal and not ends) or len(words) < fewest:
            continue
        lower = re.sub("[A-Z]", lambda m: m[0].lower(), line)
        if _PHRASES[0] in lower:
            return text, ["lorem_ipsum"]
        if _PHRASES[1] in lower:
            continue
        if "{" in line:
            return text, ["curly_bracket"]
        if any(phrase in lower for phrase in _PHRASES[2:]):
            continue
        sentences += max(1, sum(bool(re.search(r"[.?!][\"')\]’”]*$", word)) for word in words))
        lines.append(line.strip())
    return "\n".join(lines), [str(sentences), str(len(lines))]
