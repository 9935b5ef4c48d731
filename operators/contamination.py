"""Which n-grams of evaluation texts a document holds, and what becomes of it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from operators.contract import CUTS, DROP, TEXT, Adds, Artifact, Columns, MapOp, Reads, Uses, drop_column
from operators.kernels.contamination import MOST_UNITS, Buffers, Grams, Table, find_grams, unit_bounds
from operators.kernels.cuts import deletions
from operators.kernels.text_buffers import text_buffers

Int64s = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

MOST_MATCHED = 1000  # bytes
_MIDDLE, _HEAD = 0xC0, 0x80  # a UTF-8 byte in the middle of a character is 10xxxxxx


class Contamination(MapOp):
    """Looks the n-grams of every document up in the table of `evaluation_ngrams`.

    The face of `decontaminate`, which says what the columns are.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    unit: Literal["words", "characters"] = "words"
    """What n-grams are made of."""
    ngram: Annotated[int, Field(ge=1, le=MOST_UNITS)] = 13
    """Units in an n-gram."""
    min_ngram: Annotated[int, Field(ge=1, le=MOST_UNITS)] = 8
    """Units of the shortest text that is one n-gram."""
    min_overlap: Annotated[int, Field(ge=1)] = 1
    """Distinct n-grams of one row from which a document is contaminated."""
    min_share: Annotated[float, Field(ge=0, le=1)] = 0
    """Share of the row's n-grams which it must also hold."""
    action: Literal["drop", "cut"] = "drop"
    """Drop the document, or cut the passages."""
    margin: Annotated[int, Field(ge=0)] = 0
    """Characters before and behind each passage that are cut too."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        verdict = {"drop": DROP} if self.action == "drop" else {"cuts": CUTS}
        evidence = {"overlap": pa.int32(), "share": pa.float32(), "matched": pa.string()}
        return {**verdict, "evaluation_row": pa.int64(), **evidence}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        texts, known = text_buffers(batch.column("text")), uses["evaluation"]
        if batch.num_rows and not len(known["rows"]):
            raise ValueError(
                "the evaluation data has no n-gram to look for: no rows, or only texts that are shorter than "
                "min_ngram; check `against`, `columns` and `min_ngram`"
            )
        hits = self._hits(texts, Table(*(known[name] for name in Table._fields)))
        pairs = _pair(hits, known)
        share = pairs.overlap / known["totals"][pairs.evaluation]
        enough = np.minimum(self.min_overlap, known["totals"][pairs.evaluation])
        bad = (pairs.overlap >= enough) & (share >= self.min_share)
        best = _best(pairs, bad)
        row, nothing = pairs.row[best], np.ones(batch.num_rows, bool)
        nothing[row] = False
        evidence = {
            "evaluation_row": _spread(pairs.evaluation[best], row, nothing, pa.int64()),
            "overlap": _spread(pairs.overlap[best], row, nothing, pa.int32()),
            "share": _spread(share[best], row, nothing, pa.float32()),
            "matched": _matched(texts[0], _passages(hits, pairs, best), batch.num_rows),
        }
        if self.action == "cut":
            passages = _widened(texts, _passages(hits, pairs, np.flatnonzero(bad)), self.margin)
            starts = texts[1][passages.row]
            cuts = deletions(passages.row, passages.begin - starts, passages.end - starts, batch.num_rows)
            return {"cuts": cuts, **evidence}
        reasons = np.full(batch.num_rows, -1)
        reasons[pairs.row[bad]] = 0
        return {"drop": drop_column(reasons, ["contaminated"]), **evidence}

    def _hits(self, texts: Buffers, table: Table) -> _Hits:
        """Where the n-grams of the table stand in the texts."""
        grams = Grams(self.unit == "characters", self.ngram, self.min_ngram)
        row, last, size, slot = find_grams(texts, grams, table)
        begin, end = np.empty(len(row), np.int64), np.empty(len(row), np.int64)
        for one in np.unique(row):
            mine = slice(*np.searchsorted(row, [one, one + 1]))
            begins, ends = unit_bounds(texts[0], texts[1][one], texts[2][one], grams.characters)
            begin[mine], end[mine] = begins[last[mine] - size[mine] + 1], ends[last[mine]]
        return _Hits(row, begin, end, slot)


class _Hits(NamedTuple):
    """n-grams in documents: (h,) int64 each; bytes from `begin` to `end` in the buffer."""

    row: Int64s
    begin: Int64s
    end: Int64s
    slot: Int64s


class _Pairs(NamedTuple):
    """Documents and evaluation rows that share n-grams, (p,) int64 each, ascending; and for every hit with
    every evaluation row that it counts for the place of the hit and of the pair, (u,) int64 each."""

    row: Int64s
    evaluation: Int64s
    overlap: Int64s
    hit: Int64s
    pair: Int64s


def _pair(hits: _Hits, known: Artifact) -> _Pairs:
    offsets, most = known["offsets"], max(1, len(known["totals"]))
    counts = offsets[hits.slot + 1] - offsets[hits.slot]
    hit = np.repeat(np.arange(len(counts)), counts)
    inside = np.arange(len(hit)) - np.repeat(np.cumsum(counts) - counts, counts)
    evaluation = known["rows"][offsets[hits.slot[hit]] + inside]
    both, pair = np.unique(hits.row[hit] * most + evaluation, return_inverse=True)
    grams = max(1, len(offsets))
    overlap = np.bincount(np.unique(pair * grams + hits.slot[hit]) // grams, minlength=len(both))
    return _Pairs(both // most, both % most, overlap, hit, pair)


def _best(pairs: _Pairs, bad: Flags) -> Int64s:
    """The places of the pairs that are shown, one a document: those that are bad first, then those with the
    most n-grams, then the first."""
    order = np.lexsort([pairs.evaluation, -pairs.overlap, ~bad, pairs.row])
    row = pairs.row[order]
    return order[np.append(True, row[1:] != row[:-1])[: len(row)]]


def _spread(values: npt.NDArray[Any], row: Int64s, nothing: Flags, kind: pa.DataType) -> pa.Array:
    out = np.zeros(len(nothing), kind.to_pandas_dtype())
    out[row] = values
    return pa.array(out, kind, mask=nothing)


class _Passages(NamedTuple):
    """Bytes from `begin` to `end` in the buffer, in order, apart from each other; (n,) int64 each."""

    row: Int64s
    begin: Int64s
    end: Int64s


def _passages(hits: _Hits, pairs: _Pairs, wanted: Int64s) -> _Passages:
    """What the hits of the wanted pairs cover."""
    is_wanted = np.zeros(len(pairs.row), bool)
    is_wanted[wanted] = True
    some = np.unique(pairs.hit[is_wanted[pairs.pair]])
    return _joined(_Passages(hits.row[some], hits.begin[some], hits.end[some]))


def _joined(parts: _Passages) -> _Passages:
    """The same bytes without overlap. A row's bytes lie behind those of the row before."""
    order = np.lexsort([parts.begin, parts.row])
    row, begin = parts.row[order], parts.begin[order]
    reach = np.maximum.accumulate(parts.end[order])
    first = np.append(True, (row[1:] != row[:-1]) | (begin[1:] > reach[:-1]))[: len(row)]
    last = np.append(first[1:], True)[: len(row)]
    return _Passages(row[first], begin[first], reach[last])


def _widened(texts: Buffers, passages: _Passages, margin: int) -> _Passages:
    """With so many characters more on both sides, as far as the text goes."""
    if not margin:
        return passages
    data, starts, ends = texts
    begin, end = passages.begin.copy(), passages.end.copy()
    for i, row in enumerate(passages.row):
        low = max(starts[row], begin[i] - 4 * margin)
        heads = np.flatnonzero(data[low : begin[i]] & _MIDDLE != _HEAD)
        begin[i] = low + heads[-margin] if len(heads) >= margin else low
        high = min(ends[row], end[i] + 4 * margin)
        heads = np.flatnonzero(data[end[i] : high] & _MIDDLE != _HEAD)
        end[i] = end[i] + heads[margin] if len(heads) > margin else high
    return _joined(_Passages(passages.row, begin, end))


def _matched(data: npt.NDArray[np.uint8], passages: _Passages, rows: int) -> pa.Array:
    """The longest passage of each row as text."""
    order = np.lexsort([passages.begin, passages.begin - passages.end, passages.row])
    row = passages.row[order]
    longest = order[np.append(True, row[1:] != row[:-1])[: len(row)]]
    out: list[str | None] = [None] * rows
    for i in longest:
        begin, end = passages.begin[i], passages.end[i]
        stop = min(end, begin + MOST_MATCHED)
        while stop < end and stop > begin and data[stop] & _MIDDLE == _HEAD:
            stop -= 1
        out[passages.row[i]] = data[begin:stop].tobytes().decode("utf-8", "replace")
    return pa.array(out, pa.string())
