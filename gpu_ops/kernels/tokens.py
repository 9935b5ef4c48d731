"""Documents to token ids with a fast tokenizer, in bounded memory and without torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

PIECE_CHARS = 1 << 16  # measured: twice as fast as 1 << 20, in a sixteenth of the memory
GROUP_CHARS = 1 << 20  # of one call; a tokenizer works in about 200 bytes per character
FIRST_CHARS = 12  # characters per wanted token that are read first: English has about 4.5 to a token
_SPACE = re.compile(r"\s")

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Document:
    """The tokens of one text that are scored, and what they stand for.

    ids: int32, without special tokens in front; at most `max_tokens`. tokens: of the whole text.
    num_bytes: UTF-8 bytes of the text that the scored tokens cover.
    """

    ids: np.ndarray
    tokens: int
    num_bytes: int


def strings(text: pa.Array) -> list[str]:
    """The texts of a string array: "" for a null, U+FFFD for bytes that are no UTF-8."""
    raw = text.cast(pa.large_binary()).to_pylist()
    return [(value or b"").decode("utf-8", "replace") for value in raw]


def encode(
    tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int | None = None, skip_first: bool = False
) -> list[Document]:
    """Every text's first `max_tokens` tokens (all when None); no special token is added.

    skip_first: the first token is context only, so its bytes do not count.
    """
    spans = max_tokens is not None or skip_first
    documents: list[Document] = []
    for pieces in _encodings(tokenizer, texts, spans):
        tokens = sum(len(encoding) for _, encoding in pieces)
        limit = tokens if max_tokens is None else min(tokens, max_tokens)
        text = texts[len(documents)]
        first = _second(text, pieces) if skip_first and limit else 0
        last = _end(text, pieces, limit - 1) if limit < tokens else len(text)
        num_bytes = len(text[first:last].encode()) if limit else 0
        documents.append(Document(_first_ids(pieces, limit), tokens, num_bytes))
    return documents


def first_ids(tokenizer: Tokenizer, texts: Sequence[str], limit: int) -> list[tuple[Ids, bool]]:
    """Every text's first `limit` tokens, and whether it has more; no special token is added.

    Of a long text only the beginning is read, up to white space; twice as much where that is too little.
    """
    found: list[tuple[Ids, bool]] = [(np.zeros(0, np.int32), False)] * len(texts)
    chars, left = max(FIRST_CHARS * limit, 256), list(range(len(texts)))
    while left:
        parts = [_beginning(texts[i], chars) for i in left]
        short: list[int] = []
        for i, part, pieces in zip(left, parts, _encodings(tokenizer, parts, False), strict=True):
            tokens = sum(len(encoding) for _, encoding in pieces)
            if tokens > limit or len(part) == len(texts[i]):
                found[i] = _first_ids(pieces, limit), tokens > limit
            else:
                short.append(i)
        chars, left = 2 * chars, short
    return found


def all_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Ids]:
    """Every text's tokens; no special token is added."""
    return [
        _first_ids(pieces, sum(len(encoding) for _, encoding in pieces))
        for pieces in _encodings(tokenizer, texts, False)
    ]


def count_tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    """How many tokens every text has; no special token is added."""
    return [sum(len(encoding) for _, encoding in pieces) for pieces in _encodings(tokenizer, texts, False)]


def _beginning(text: str, chars: int) -> str:
    """The first `chars` characters up to the last white space within, the whole text where there is none."""
    if len(text) <= chars:
        return text
    blank = max((match.start() for match in _SPACE.finditer(text, chars // 2, chars)), default=0)
    return text[:blank] if blank else text


def windows(ids: np.ndarray, bos: int | None, size: int) -> list[np.ndarray]:
    """Consecutive inputs of at most `size` tokens; in each the first token is context, the others are
    scored. Context is BOS where there is one, else the token before."""
    tokens = ids if bos is None else np.concatenate([np.array([bos], ids.dtype), ids])
    pieces = [tokens[start : start + size].copy() for start in range(0, len(tokens) - 1, size - 1)]
    for piece in pieces if bos is not None else ():
        piece[0] = bos
    return pieces


def _encodings(
    tokenizer: Tokenizer, texts: Sequence[str], spans: bool
) -> Iterator[list[tuple[int, Encoding]]]:
    """Per text its pieces in order: (the piece's start in the text, its encoding)."""
    run = tokenizer.encode_batch if spans else tokenizer.encode_batch_fast
    for group in _groups(texts):
        pieces = [(start, text[start:end]) for text in group for start, end in _cut(text)]
        encoded = run([piece for _, piece in pieces], add_special_tokens=False)
        parts: list[tuple[int, Encoding]] = []
        for (start, _), following, encoding in zip(pieces, [*pieces[1:], (0, "")], encoded, strict=True):
            parts.append((start, encoding))
            if following[0] == 0:
                yield parts
                parts = []


def _groups(texts: Sequence[str]) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for text in texts:
        if group and size + len(text) > GROUP_CHARS:
            yield group
            group, size = [], 0
        group.append(text)
        size += len(text)
    if group:
        yield group


def _cut(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of the pieces: one, except in a text over PIECE_CHARS, which is cut before the last
    white space of each piece's last 1,024 characters."""
    start = 0
    while len(text) - start > PIECE_CHARS:
        end = start + PIECE_CHARS
        blanks = [match.start() for match in _SPACE.finditer(text, end - 1024, end)]
        end = blanks[-1] if blanks else end
        yield start, end
        start = end
    yield start, len(text)


def _second(text: str, pieces: list[tuple[int, Encoding]]) -> int:
    """Where in the text the tokens after the first begin, in characters. Where the first character has
    several tokens, they begin with it."""
    end = _end(text, pieces, 0)
    spans = ((start, encoding.token_to_chars(i)) for start, encoding in pieces for i in range(len(encoding)))
    following = next((start + span[0] for start, span in islice(spans, 1, 2) if span), end)
    return min(end, following)


def _end(text: str, pieces: list[tuple[int, Encoding]], index: int) -> int:
    """Where in the text the token ends, in characters."""
    for start, encoding in pieces:
        if index < len(encoding):
            span = encoding.token_to_chars(index)
            return start + (span[1] if span else 0)
        index -= len(encoding)
    return len(text)


def _first_ids(pieces: list[tuple[int, Encoding]], limit: int) -> np.ndarray:
    ids: list[np.ndarray] = []
    for _, encoding in pieces:
        if limit > 0:
            ids.append(np.array(encoding.ids[:limit], np.int32))
            limit -= len(ids[-1])
    return np.concatenate(ids) if ids else np.zeros(0, np.int32)
