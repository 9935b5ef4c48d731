"""Synthesises any number of short documents whose fate is known: which are too short, exact or near copies.

    python -m workflows.bench.short_documents OUT DOCUMENTS [--words FOLDER]

Words are drawn as often as they stand in the texts of FOLDER (the quickstart's sample). Document i is a
function of i alone: of a copy the original is made again wherever it is needed, so nothing is held and a
larger corpus begins with the smaller one. Of 100 documents 5 are stubs of 4 words, 5 are copies of a document
anywhere before them, and 5 such copies with another last word (J >= 23/25 by word 5-grams).
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from operators.kernels.counter import random_bits

PLAIN, STUB, EXACT, NEAR = range(4)
SHARES = (0.83, 0.05, 0.06, 0.06)  # of each kind before copies of what is no plain document become plain
STUB_WORDS = 4
LEAST_WORDS, MORE_WORDS = 28, 13  # a document's words: 28 to 40
FILE_ROWS, GROUP_ROWS = 1_000_000, 131_072
SLOTS = 1 << 16  # of the table that words are drawn from
SAMPLE = Path(__file__).parents[2] / "configs" / "quickstart" / "sample"
SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.string())])

Ints = npt.NDArray[np.int64]


def word_slots(folder: Path) -> pa.Array:
    """SLOTS words, each as often as its share of the texts says; FileNotFoundError where there are none."""
    counts: Counter[str] = Counter()
    for path in sorted(folder.glob("*.parquet")):
        for text in pq.ParquetFile(path).read(columns=["text"]).column("text").to_pylist():
            counts.update(re.findall(r"\b[a-z]{2,12}\b", text or ""))
    if not counts:
        raise FileNotFoundError(f"{folder}: no *.parquet with words in a column `text`")
    words, often = zip(*sorted(counts.items(), key=lambda item: (-item[1], item[0])), strict=True)
    ends = np.cumsum(np.array(often, np.float64)) / sum(often)
    places = np.searchsorted(ends, (np.arange(SLOTS) + 0.5) / SLOTS)
    return pa.array(words, pa.string()).take(pa.array(places))


def drawn_kinds(rows: Ints) -> npt.NDArray[np.int8]:
    """What each document would be, if its original were a plain one."""
    share = (random_bits(1, rows.astype(np.uint64)) >> np.uint64(11)) * 2.0**-53
    return np.searchsorted(np.cumsum(SHARES)[:-1], share, side="right").astype(np.int8)


def fates(rows: Ints) -> tuple[npt.NDArray[np.int8], Ints]:
    """(kind, original) of each document; a document that is no copy is its own original."""
    kinds = drawn_kinds(rows)
    before = (random_bits(2, rows.astype(np.uint64)) % np.maximum(rows, 1).astype(np.uint64)).astype(np.int64)
    copy = kinds >= EXACT
    orphan = copy & ((drawn_kinds(before) != PLAIN) | (rows == 0))
    kinds[orphan] = PLAIN
    return kinds, np.where(kinds >= EXACT, before, rows)


def texts(rows: Ints, slots: pa.Array) -> pa.Array:
    """The documents' texts."""
    kinds, original = fates(rows)
    counts = LEAST_WORDS + (random_bits(3, original.astype(np.uint64)) % np.uint64(MORE_WORDS)).astype(
        np.int64
    )
    counts[kinds == STUB] = STUB_WORDS
    ends = np.cumsum(counts)
    place = np.arange(ends[-1]) - np.repeat(ends - counts, counts)
    key = np.repeat(original, counts).astype(np.uint64) << np.uint64(6) | place.astype(np.uint64)
    words = slots.take(pa.array((random_bits(4, key) >> np.uint64(48)).astype(np.int32)))
    offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
    lines = pc.binary_join(pa.ListArray.from_arrays(offsets, words), " ")
    near = kinds == NEAR
    head = pc.replace_substring_regex(lines.filter(pa.array(near)), r" \w+$", "")
    tail = pc.cast(pa.array(rows[near]), pa.string())
    changed = pc.binary_join_element_wise(head, pc.binary_join_element_wise("new", tail, ""), " ")
    return pc.replace_with_mask(lines, pa.array(near), changed)


def write(folder: Path, documents: int, words: Path = SAMPLE, group_rows: int = GROUP_ROWS) -> None:
    """The corpus as Parquet files of up to FILE_ROWS documents; what is there already stays."""
    slots = word_slots(words)
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, documents, FILE_ROWS):
        path = folder / f"part-{first // FILE_ROWS:05d}.parquet"
        if path.exists():
            continue
        partial = path.with_suffix(".partial")
        with pq.ParquetWriter(partial, SCHEMA, compression="zstd") as writer:
            stop = min(first + FILE_ROWS, documents)
            for start in range(first, stop, group_rows):
                rows = np.arange(start, min(start + group_rows, stop))
                writer.write_batch(pa.record_batch([pa.array(rows), texts(rows, slots)], schema=SCHEMA))
        partial.replace(path)


def truth(documents: int) -> dict[str, int]:
    """How many documents of each kind there are."""
    counts = np.zeros(4, np.int64)
    for start in range(0, documents, FILE_ROWS):
        kinds, _ = fates(np.arange(start, min(start + FILE_ROWS, documents)))
        counts += np.bincount(kinds, minlength=4)
    return dict(zip(("plain", "stub", "exact", "near"), counts.tolist(), strict=True))


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("documents", type=int)
    parser.add_argument("--words", type=Path, default=SAMPLE)
    asked = parser.parse_args(given)
    write(asked.out, asked.documents, asked.words)
    print(f"{asked.out}: {truth(asked.documents)}")


if __name__ == "__main__":
    main()
