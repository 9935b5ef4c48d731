"""In which sequences a language model reads documents: as a stream, packed, cut short, or easy ones first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from gpu_ops.trainer.batch import Batch, Feed, Ints
from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.stream import Stream, epoch_order
from gpu_ops.trainer.token_file import read_tokens
from operators.kernels.blocks import fill, pack
from operators.kernels.counter import mix64, uniform
from operators.kernels.pacing import Pacing


class TextFeed(Feed, Protocol):
    """Sequences that can be had by their numbers, too."""

    def blocks(self, seq_len: int) -> int:
        """How many whole sequences of that length an epoch has."""
        ...

    def sequences(self, numbers: Ints, seq_len: int) -> Batch:
        """Those of these numbers, in the first epoch."""
        ...


def text_feed(path: str, seed: int, shuffle: bool, config: TrainConfig) -> TextFeed:
    """The tokens at `path` as the config cuts them."""
    if config.packing == "best_fit" or config.boundaries == "keep":
        keep = config.boundaries == "keep"
        packed = Packed(path, seed, shuffle, config.seq_len, config.packing, keep)
        return Truncated(packed, config.seq_len) if _cut(config) else packed
    stream = Stream(path, seed, shuffle, config.seq_len)
    return Truncated(stream, config.seq_len) if _cut(config) else stream


def _cut(config: TrainConfig) -> bool:
    return config.seq_len_warmup is not None and config.seq_len_warmup.truncate


class Packed:
    """Documents packed into sequences once, in file order; read in it or, with `shuffle`, in another order of
    the sequences for every (seed, epoch). Each is padded at the end.

    With `keep` attention and positions stay inside a document, so that what is learned of one does not depend
    on its neighbours; no token predicts the next document's first one either way.
    """

    unit: Literal["tokens", "rows"] = "rows"

    def __init__(self, path: str, seed: int, shuffle: bool, seq_len: int, how: Any, keep: bool) -> None:
        self._tokens = read_tokens(path)
        self._blocks = pack(self._tokens.lengths, seq_len, how)
        self._order = np.empty(0, np.int64)
        self._epoch = -1
        self.seed, self.shuffle, self.keep = seed, shuffle, keep

    @property
    def size(self) -> int:
        return len(self._blocks)

    @property
    def corpus_tokens(self) -> int:
        return self._blocks.tokens

    def batch(self, start: int, rows: int, seq_len: int) -> Batch:
        """Sequences by their places in the epochs. ValueError for another length than they have."""
        if seq_len != self._blocks.seq_len:
            raise ValueError(f"sequences were packed to {self._blocks.seq_len} tokens, not to {seq_len}")
        epochs, places = np.divmod(start + np.arange(rows), len(self._blocks))
        numbers = [self._numbers(int(e), int(p)) for e, p in zip(epochs, places, strict=True)]
        return self.sequences(np.array(numbers, np.int64), seq_len)

    def blocks(self, seq_len: int) -> int:
        """How many sequences `sequences` knows."""
        return len(self._blocks)

    def sequences(self, numbers: Ints, seq_len: int) -> Batch:
        """Sequences by number, in file order."""
        found = fill(self._blocks, numbers, self._tokens.ids, self._tokens.starts)
        inputs, targets = found.input_ids.astype(np.int64), found.targets.astype(np.int64)
        lengths = (found.segment_ids > 0).sum(axis=1)
        positions = found.position_ids.astype(np.int64) if self.keep else None
        return Batch(inputs, targets, numbers, lengths, positions)

    def _numbers(self, epoch: int, place: int) -> int:
        if not self.shuffle:
            return place
        if self._epoch != epoch:
            self._order = epoch_order(len(self._blocks), self.seed, epoch)
            self._epoch = epoch
        return int(self._order[place])


@dataclass(frozen=True)
class _Over:
    """What reads another feed says of its size what that does."""

    feed: TextFeed

    @property
    def unit(self) -> Literal["tokens", "rows"]:
        return self.feed.unit

    @property
    def size(self) -> int:
        return self.feed.size

    @property
    def corpus_tokens(self) -> int:
        return self.feed.corpus_tokens


@dataclass(frozen=True)
class Paced(_Over):
    """Easy sequences first: at a share t of the run, rows are drawn uniformly, with replacement, from the
    first share c(t) of an epoch's sequences (Platanios et al. 2019, https://arxiv.org/abs/1903.09848,
    algorithm 1), so the data has to lie from easy to hard. A pure function of (seed, place): any step can be
    had at any time. Unlike a sorted pass it can follow every pacing, by repeating what is easy; the price is
    that of a corpus of as many tokens as the run's more than a third (1/e) is never seen. In a shuffled epoch
    this is the control: as many rows from as small a pool, none of it easier.
    """

    pacing: Pacing
    seed: int
    end: int

    def batch(self, start: int, rows: int, seq_len: int) -> Batch:
        """Rows for place `start`, each a sequence of its own. ValueError for data below one sequence."""
        count = self.feed.blocks(seq_len)
        if count < 1:
            raise ValueError(
                f"pacing: {self.corpus_tokens:,} tokens are less than a sequence of {seq_len}; take more data"
            )
        share = float(self.pacing.values(min(1.0, start / self.end)))
        known = min(count, max(1, int(np.ceil(share * count))))
        step = 1 if self.unit == "rows" else seq_len
        places = start + step * np.arange(rows)
        drawn = uniform(self.seed, mix64(places.astype(np.uint64)))
        return self.feed.sequences((drawn * known).astype(np.int64), seq_len)


@dataclass(frozen=True)
class Truncated(_Over):
    """The beginnings of sequences of `span` tokens."""

    span: int

    def batch(self, start: int, rows: int, seq_len: int) -> Batch:
        """As the feed's own rows at this place, without what comes after `seq_len` tokens."""
        return self._begun(self.feed.batch(start, rows, self.span), seq_len)

    def blocks(self, seq_len: int) -> int:
        """As many as there are of the full length."""
        return self.feed.blocks(self.span)

    def sequences(self, numbers: Ints, seq_len: int) -> Batch:
        """Their beginnings."""
        return self._begun(self.feed.sequences(numbers, self.span), seq_len)

    def _begun(self, whole: Batch, seq_len: int) -> Batch:
        positions = None if whole.positions is None else whole.positions[:, :seq_len]
        lengths = None if whole.lengths is None else np.minimum(whole.lengths, seq_len)
        return Batch(whole.inputs[:, :seq_len], whole.targets[:, :seq_len], whole.rows, lengths, positions)
