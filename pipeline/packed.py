"""Kept documents as training sequences of token ids: what a `format: packed` export writes."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from operators.kernels.blocks import IGNORE, Blocks, Filled, How, fill, pack
from pipeline.config import Config, ExportConfig
from pipeline.errors import ConfigError
from pipeline.units import count, percent, short

if TYPE_CHECKING:
    from gpu_ops.trainer.stream import Vocabulary

PACKED = "packed"
TOTALS = ("documents", "tokens", "places", "empty", "cuts")  # what `Packer.counts` tells of a file
VERSION = 1  # of the written columns and of where each token stands
CHUNK_TOKENS = 1 << 20  # that concatenation holds before it writes
BATCH_TOKENS = 1 << 18  # of a batch that goes to the writer


@dataclass(frozen=True)
class Packing:
    """How documents become sequences; it travels to the workers whole, so none of them needs a file.

    window: documents that best fit places together; concatenation has none.
    """

    vocabulary: Vocabulary
    seq_len: int
    how: How
    window: int | None
    labels: bool

    def schema(self) -> pa.Schema:
        """The columns of a sequence.

        input_ids, position_ids: seq_len int32 each. A position is 0 where a document, or a piece of one,
        begins, and throughout padding; so `position_ids == 0` is where attention begins anew and what is no
        target: labels (transformers shifts them itself) are input_ids, and -100 wherever a position is 0.
        With `labels` they are written too. uids, starts, lengths: of each piece, in its order in the
        sequence, the document (as `tamis why uid:N` knows it), its first token there and its tokens;
        padding is what they leave.
        """
        names = ["input_ids", "position_ids", *(["labels"] if self.labels else [])]
        fixed = [pa.field(name, pa.list_(pa.int32(), self.seq_len)) for name in names]
        pieces = {"uids": pa.int64(), "starts": pa.int32(), "lengths": pa.int32()}
        return pa.schema([*fixed, *(pa.field(name, pa.list_(dtype)) for name, dtype in pieces.items())])

    def identity(self) -> list[Any]:
        """What the written bytes depend on, the documents and their order aside."""
        return [VERSION, self.vocabulary.key, self.seq_len, self.how, self.window, self.labels]

    @property
    def pad(self) -> int:
        """The id of padding; it is nobody's target and nobody sees it."""
        known = (self.vocabulary.eos, self.vocabulary.bos)
        return next((token for token in known if token is not None), 0)


def packing_of(config: Config, export: ExportConfig, number: int) -> Packing | None:
    """What export `number` of the config asks for; None where it is of another format.

    Raises ConfigError where the tokenizer, or the package that reads it, is not there."""
    if export.format != PACKED:
        return None
    assert export.tokenizer is not None
    assert export.seq_len is not None
    where = config.where("export", number, "tokenizer")
    if importlib.util.find_spec("tokenizers") is None:
        raise ConfigError(f"{where}: format packed needs the package tokenizers: pip install 'tamis[gpu]'")
    from gpu_ops.trainer.stream import Vocabulary

    folder = config.base / export.tokenizer
    try:
        vocabulary = Vocabulary.load(str(folder))
    except FileNotFoundError:
        raise ConfigError(
            f"{where}: tokenizer: {folder} has no tokenizer.json; name the folder of a tokenizer or a model"
        ) from None
    except Exception as error:  # tokenizers knows no other class
        raise ConfigError(f"{where}: tokenizer: {folder} cannot be read: {error}") from error
    window = export.window if export.packing == "best_fit" else None
    return Packing(vocabulary, export.seq_len, export.packing, window, export.labels)


def explain(export: ExportConfig, mark: Mapping[str, Any]) -> str:
    """A packed export for the plan, with what a run wrote there last; before one, nobody knows the tokens.

    mark: of the export's folder, empty where there is none."""
    how = f"best fit in windows of {count(export.window)} documents"
    how = how if export.packing == "best_fit" else "concatenated"
    text = f"packed: sequences of {count(export.seq_len)} tokens by {export.tokenizer}, {how}"
    if mark.get("state") != "done" or not (places := mark.get("places")):
        return text
    padding = percent(places - mark["tokens"], places)
    return (
        f"{text}; it holds {count(mark['rows'])} sequences, {short(mark['tokens'])} tokens, {padding} padding"
    )


def told(packing: Packing, mark: Mapping[str, Any]) -> dict[str, Any]:
    """What a run says of a packed export: its rows are documents. padding: the share of all positions."""
    documents, tokens, places, empty, cuts = (mark.get(name, 0) for name in TOTALS)  # none: there is no file
    counts = {"rows": documents, "tokens": tokens, "empty": empty, "cuts": cuts}
    padding = 1 - tokens / places if places else 0.0
    return {**counts, "sequences": mark["rows"], "seq_len": packing.seq_len, "padding": padding}


class Packer:
    """The sequences of one file: they depend on its documents and their order, not on how those come."""

    def __init__(self, packing: Packing) -> None:
        self.packing = packing
        self.counts = dict.fromkeys(TOTALS, 0)
        self._ids: list[np.ndarray] = []  # of documents, or their rests, that stand in no sequence yet
        self._uids: list[int] = []
        self._starts: list[int] = []
        self._tokens = 0

    def sequences(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Rows with the packing's schema, of documents with the columns `uid` and `text`."""
        window, chunk = self.packing.window, CHUNK_TOKENS + self.packing.seq_len
        for batch in batches:
            self._add(batch)
            while window is not None and len(self._ids) >= window:
                yield from self._pack(window, end=True)
            if window is None and self._tokens >= chunk:
                yield from self._pack(len(self._ids), end=False)
        if self._ids:
            yield from self._pack(len(self._ids), end=True)

    def _add(self, batch: pa.RecordBatch) -> None:
        from gpu_ops.kernels.tokens import all_ids, strings

        vocabulary = self.packing.vocabulary
        texts = strings(batch.column("text").cast(pa.large_string()))
        found = all_ids(vocabulary.tokenizer, texts)
        for uid, ids in zip(batch.column("uid").to_pylist(), found, strict=True):
            if not len(ids):
                self.counts["empty"] += 1
                continue
            self._put(vocabulary.wrap(ids), uid, 0)
            self.counts["documents"] += 1
            self.counts["tokens"] += len(self._ids[-1])

    def _put(self, ids: np.ndarray, uid: int, start: int) -> None:
        self._ids.append(ids)
        self._uids.append(uid)
        self._starts.append(start)
        self._tokens += len(ids)

    def _pack(self, documents: int, end: bool) -> Iterator[pa.RecordBatch]:
        """The sequences of the first waiting documents. Without `end` the last one waits for more."""
        ids, uids, starts = self._ids[:documents], self._uids[:documents], self._starts[:documents]
        rest = self._ids[documents:], self._uids[documents:], self._starts[documents:]
        self._ids, self._uids, self._starts, self._tokens = [], [], [], 0
        lengths = np.array([len(document) for document in ids], np.int64)
        blocks = pack(lengths, self.packing.seq_len, self.packing.how)
        whole = len(blocks) if end else len(blocks) - 1
        last = int(blocks.offsets[whole])
        self.counts["cuts"] += int((~blocks.last[:last]).sum())
        self.counts["places"] += whole * self.packing.seq_len
        tokens, begins = np.concatenate(ids), np.cumsum(lengths) - lengths
        step = max(1, BATCH_TOKENS // self.packing.seq_len)
        for low in range(0, whole, step):
            some = range(low, min(low + step, whole))
            filled = fill(blocks, some, tokens, begins, pad=self.packing.pad)
            yield self._rows(blocks, some, filled, np.array(uids), np.array(starts))
        for piece in range(last, len(blocks.documents)):
            document, start = int(blocks.documents[piece]), int(blocks.starts[piece])
            self._put(ids[document][start : blocks.ends[piece]], uids[document], starts[document] + start)
        for waiting in zip(*rest, strict=True):
            self._put(*waiting)

    def _rows(
        self, blocks: Blocks, some: Sequence[int], filled: Filled, uids: np.ndarray, starts: np.ndarray
    ) -> pa.RecordBatch:
        """Some consecutive sequences as they are written."""
        offsets = blocks.offsets[some[0] : some[-1] + 2]
        pieces = slice(int(offsets[0]), int(offsets[-1]))
        documents, begin = blocks.documents[pieces], blocks.starts[pieces]
        where = pa.array(offsets - offsets[0], pa.int32())
        columns = [filled.input_ids, filled.position_ids]
        if self.packing.labels:
            columns.append(np.where(filled.position_ids > 0, filled.input_ids, IGNORE))
        fixed = [
            pa.FixedSizeListArray.from_arrays(pa.array(c.reshape(-1), pa.int32()), self.packing.seq_len)
            for c in columns
        ]
        lists = {
            pa.int64(): [uids[documents]],
            pa.int32(): [starts[documents] + begin, blocks.ends[pieces] - begin],
        }
        found = [pa.ListArray.from_arrays(where, pa.array(v, t)) for t, vs in lists.items() for v in vs]
        return pa.RecordBatch.from_arrays([*fixed, *found], schema=self.packing.schema())
