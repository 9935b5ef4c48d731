"""Documents to one endless stream of tokens: tokenised once, packed by concatenation, any order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gpu_ops.kernels.tokens import all_ids
from gpu_ops.trainer.batch import Batch
from gpu_ops.trainer.documents import data_files, documents
from gpu_ops.trainer.files import content_key
from gpu_ops.trainer.token_file import read_tokens, write_tokens, written
from operators.kernels.counter import mix64

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer and the token between documents: BOS before each where there is one, else EOS after."""

    tokenizer: Tokenizer
    size: int
    bos: int | None
    eos: int | None
    key: str

    @classmethod
    def load(cls, folder: str) -> Vocabulary:
        """Reads tokenizer.json, and the special tokens' names from tokenizer_config.json."""
        from tokenizers import Tokenizer

        path = Path(folder) / "tokenizer.json"
        if not path.is_file():
            raise FileNotFoundError(f"no tokenizer {str(path)!r}; name a folder that holds tokenizer.json")
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        more = Path(folder) / "tokenizer_config.json"
        special = json.loads(more.read_text("utf-8")) if more.is_file() else {}
        bos, eos = (_special(tokenizer, special.get(f"{name}_token")) for name in ("bos", "eos"))
        key = content_key([path], f"{bos} {eos}")
        return cls(tokenizer, tokenizer.get_vocab_size(), bos, eos, key)

    def wrap(self, ids: np.ndarray) -> np.ndarray:
        """The document's ids with its separator."""
        before = [] if self.bos is None else [self.bos]
        after = [self.eos] if self.bos is None and self.eos is not None else []
        return np.concatenate([np.array(before, np.int32), ids, np.array(after, np.int32)])


def _special(tokenizer: Tokenizer, token: str | dict[str, Any] | None) -> int | None:
    content = token["content"] if isinstance(token, dict) else token
    return None if content is None else tokenizer.token_to_id(content)


def tokenise(folder: str, vocabulary: Vocabulary, cache: Path) -> tuple[str, str]:
    """Tokenises a folder once. Returns the key of its content and the path (without suffix) of its
    tokens, separators included (see `read_tokens`)."""
    key = content_key(data_files(folder), vocabulary.key)
    path = cache / key
    if not written(path):
        write_tokens(path, _wrapped(folder, vocabulary))
    return key, str(path)


def _wrapped(folder: str, vocabulary: Vocabulary) -> Iterator[np.ndarray]:
    """The ids of every document that has any, with its separator."""
    empty = True
    for texts, _ in documents(folder):
        for ids in all_ids(vocabulary.tokenizer, texts):
            if len(ids):
                empty = False
                yield vocabulary.wrap(ids)
    if empty:
        raise ValueError(f"{folder}: every document is empty; there is nothing to train on")


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """(count,) a permutation of the documents for every (seed, epoch)."""
    salt = mix64(mix64(np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64)) ^ np.uint64(epoch))
    keys = mix64(mix64(np.arange(count, dtype=np.uint64)) ^ salt)
    return np.argsort(keys, kind="stable")


class Stream:
    """A corpus as one endless stream of tokens, a pure function of (seed, place).

    Documents are concatenated in file order, or with `shuffle` in another order for every (seed, epoch).
    Block i of length L is tokens[i L : (i + 1) L]; its targets are the tokens one further on, so each
    token is a target once an epoch. Attention crosses documents inside a block; the separator tells.
    The tokens stay on disk; in memory is an order of the documents.
    """

    unit: Literal["tokens", "rows"] = "tokens"

    def __init__(self, path: str, seed: int, shuffle: bool, row: int | None = None) -> None:
        """row: the length whose rows have numbers of their own; any, where it is None."""
        self.row = row
        self._tokens = read_tokens(path)
        self.ids = self._tokens.ids
        self.seed, self.shuffle = seed, shuffle
        self._epoch = -1

    @property
    def size(self) -> int:
        return len(self.ids)

    @property
    def corpus_tokens(self) -> int:
        return len(self.ids)

    def read(self, start: int, count: int) -> np.ndarray:
        """`count` tokens from place `start`, through as many epochs as it takes."""
        found: list[np.ndarray] = []
        while count:
            number, offset = divmod(start, len(self.ids))
            found.append(self._slice(number, offset, min(offset + count, len(self.ids))))
            start, count = start + len(found[-1]), count - len(found[-1])
        return np.concatenate(found)

    def batch(self, start: int, rows: int, seq_len: int) -> Batch:
        """Rows of `seq_len` tokens each, one after the other."""
        tokens = self.read(start, rows * seq_len + 1).astype(np.int64)
        inputs, targets = (part.reshape(rows, seq_len) for part in (tokens[:-1], tokens[1:]))
        return Batch(inputs, targets, self._rows(start, rows, seq_len))

    def blocks(self, seq_len: int) -> int:
        """How many whole rows of that length an epoch has, with their targets."""
        return (len(self.ids) - 1) // seq_len

    def sequences(self, numbers: np.ndarray, seq_len: int) -> Batch:
        """Rows by number, in the order of the first epoch."""
        tokens = np.stack([self.read(int(n) * seq_len, seq_len + 1) for n in numbers]).astype(np.int64)
        rows = np.full(len(numbers), -1) if self.row not in (None, seq_len) else numbers
        return Batch(tokens[:, :-1], tokens[:, 1:], rows)

    def _rows(self, start: int, rows: int, seq_len: int) -> np.ndarray:
        """Blocks of documents in file order are the same in every epoch where they divide it."""
        if self.shuffle or len(self.ids) % seq_len or start % seq_len or self.row not in (None, seq_len):
            return np.full(rows, -1, np.int64)
        return (start // seq_len + np.arange(rows)) % (len(self.ids) // seq_len)

    def _slice(self, number: int, start: int, end: int) -> np.ndarray:
        """Tokens of one epoch."""
        if not self.shuffle:
            return np.asarray(self.ids[start:end])
        if self._epoch != number:
            self._order = epoch_order(len(self._tokens.starts), self.seed, number)
            self._ends = np.cumsum(self._tokens.lengths[self._order])
            self._epoch = number
        first = int(np.searchsorted(self._ends, start, side="right"))
        last = int(np.searchsorted(self._ends, end, side="left")) + 1
        documents = self._order[first:last]
        skipped = start - int(self._ends[first] - self._tokens.lengths[documents[0]])
        pieces = [self._tokens.document(number) for number in documents]
        return np.concatenate(pieces)[skipped : skipped + end - start]
