"""Documents to one endless stream of tokens: tokenised once, packed by concatenation, any order."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_ops.kernels.tokens import encode
from gpu_ops.trainer.documents import data_files, documents
from gpu_ops.trainer.files import content_key, write_array
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
    tokens: `.ids.npy` (int32, separators included) and `.ends.npy` (int64, where documents end)."""
    key = content_key(data_files(folder), vocabulary.key)
    path = cache / key
    if not path.with_suffix(".ends.npy").exists():
        wrapped = [
            vocabulary.wrap(document.ids)
            for texts, _ in documents(folder)
            for document in encode(vocabulary.tokenizer, texts)
            if document.tokens
        ]
        if not wrapped:
            raise ValueError(f"{folder}: every document is empty; there is nothing to train on")
        write_array(path.with_suffix(".ids.npy"), np.concatenate(wrapped))
        write_array(path.with_suffix(".ends.npy"), np.cumsum([len(ids) for ids in wrapped]))
    return key, str(path)


class Stream:
    """A corpus as one endless stream of tokens, a pure function of (seed, position).

    Documents are concatenated in file order, or with `shuffle` in another order for every (seed, epoch).
    Block i of length L is tokens[i L : (i + 1) L]; its targets are the tokens one further on, so each
    token is a target once an epoch. Attention crosses documents inside a block; the separator tells.
    """

    def __init__(self, path: str, seed: int, shuffle: bool) -> None:
        self.ids = np.load(f"{path}.ids.npy", mmap_mode="r")
        self.ends = np.load(f"{path}.ends.npy")
        self.seed, self.shuffle = seed, shuffle
        self._epoch = (-1, self.ids)

    def epoch(self, number: int) -> np.ndarray:
        """All tokens in the order of one epoch."""
        if not self.shuffle:
            return self.ids
        if self._epoch[0] != number:
            salt = mix64(mix64(np.array([self.seed & 0xFFFFFFFFFFFFFFFF], np.uint64)) ^ np.uint64(number))
            order = np.argsort(mix64(mix64(np.arange(len(self.ends), dtype=np.uint64)) ^ salt), kind="stable")
            starts = np.concatenate([[0], self.ends[:-1]])
            self._epoch = (number, np.concatenate([self.ids[starts[i] : self.ends[i]] for i in order]))
        return self._epoch[1]

    def read(self, start: int, count: int) -> np.ndarray:
        """`count` tokens from position `start`, through as many epochs as it takes."""
        found: list[np.ndarray] = []
        while count:
            number, offset = divmod(start, len(self.ids))
            found.append(np.asarray(self.epoch(number)[offset : offset + count]))
            start, count = start + len(found[-1]), count - len(found[-1])
        return np.concatenate(found)

    def batch(self, step: int, rows: int, seq_len: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets (rows, seq_len) int64 of one step."""
        tokens = self.read(step * rows * seq_len, rows * seq_len + 1).astype(np.int64)
        return tokens[:-1].reshape(rows, seq_len), tokens[1:].reshape(rows, seq_len)
