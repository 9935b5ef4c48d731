"""Builds a corpus of any size out of real paragraphs: new documents, of which a known share are near-copies.

    python -m workflows.bench.recombine OUT.parquet MEGABYTES CORPUS.parquet [MORE.parquet ...]

Document lengths are those of CORPUS; the text is drawn from the paragraphs of all files, each piece at most a
quarter of its document, so that no two documents are alike by chance. One document in ten is a copy of one
of the documents before it, with n (1 - J) / (5 (1 + J)) of its n words replaced, far apart, so that the two
sets of word 5-grams have a Jaccard index of about the J that was drawn (what it is exactly, `truth` counts);
a fifth of the copies is exact. Some documents are copied often, most once. All numbers are a function of the
seed and the document's group of 1,024: a larger corpus begins with the smaller one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from operators.kernels.counter import mix64

SEED = 20
GROUP = 1024  # documents that share a stream of random numbers
DRAWN_AT_ONCE = 1 << 16
LEAST_PARAGRAPH = 40  # bytes
PIECES = 4  # a document has at least so many
COPIES = 10  # one document in so many is a copy
EXACT = 5  # one copy in so many is exact
LOWEST_JACCARD = 0.5  # of a planted copy
PARENTS = 4096  # documents that may be copied at any time
ROW_GROUP_BYTES = 32_000_000
SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string())])


class Numbers:
    """Random integers, a function of (seed, group)."""

    def __init__(self, seed: int, group: int) -> None:
        self._stream = int(mix64(mix64(np.array([seed], np.uint64)) ^ np.uint64(group))[0])
        self._block = 0
        self._left: Iterator[int] = iter(())

    def below(self, n: int) -> int:
        """0 <= x < n; the bias of the remainder is below n / 2**64."""
        drawn = next(self._left, None)
        if drawn is None:
            counter = np.arange(DRAWN_AT_ONCE, dtype=np.uint64) + np.uint64(self._block * DRAWN_AT_ONCE)
            self._left = iter(mix64(mix64(counter) ^ np.uint64(self._stream)).tolist())
            self._block += 1
            drawn = next(self._left)
        return drawn % n


def read_texts(path: Path) -> Iterator[bytes]:
    """The UTF-8 of every text."""
    for batch in pq.ParquetFile(path).iter_batches(4096, columns=["text"]):
        for text in batch.column("text").cast(pa.large_binary()).to_pylist():
            if text:
                yield text


def paragraphs(paths: Sequence[Path]) -> list[bytes]:
    """What stands between blank lines, if it is long enough; ValueError where nothing is."""
    found = [
        piece
        for path in paths
        for text in read_texts(path)
        for piece in text.split(b"\n\n")
        if len(piece) >= LEAST_PARAGRAPH
    ]
    if not found:
        raise ValueError(f"no paragraph of {LEAST_PARAGRAPH} bytes in {', '.join(map(str, paths))}")
    return found


def compose(pool: Sequence[bytes], size: int, numbers: Numbers) -> bytes:
    """A new document of about `size` bytes."""
    most = max(LEAST_PARAGRAPH, size // PIECES)
    pieces: list[bytes] = []
    while size > 0:
        piece = pool[numbers.below(len(pool))]
        if len(piece) > most:
            # Cut at ASCII blanks, so never inside a character; a piece without any is left whole.
            begin = piece.find(b" ", numbers.below(len(piece) - most)) + 1
            end = piece.rfind(b" ", begin, begin + most)
            piece = piece[begin:end] if end > begin else piece
        pieces.append(piece)
        size -= len(piece) + 2
    return b"\n\n".join(pieces)


def edit(text: bytes, numbers: Numbers) -> bytes:
    """A near-copy: isolated words replaced by new ones, as many as the drawn Jaccard index asks for."""
    if numbers.below(EXACT) == 0:
        return text
    jaccard = LOWEST_JACCARD + (1 - LOWEST_JACCARD) * numbers.below(1 << 20) / (1 << 20)
    words = text.split(b" ")
    wanted = round(len(words) * (1 - jaccard) / (5 * (1 + jaccard)))
    for k in range(wanted):
        # Evenly spread: neighbours are some 15 words apart or more, so each costs shingles of its own.
        place = (2 * k + 1) * len(words) // (2 * wanted)
        words[place] = b"edit%d" % numbers.below(1 << 40)
    return b" ".join(words)


def documents(pool: Sequence[bytes], sizes: Sequence[int], seed: int = SEED) -> Iterator[bytes]:
    """Documents without end."""
    parents: list[bytes] = []
    group = 0
    while True:
        numbers = Numbers(seed, group)
        for _ in range(GROUP):
            if parents and numbers.below(COPIES) == 0:
                # The cube favours the first places: there are families of many.
                place = int(len(parents) * (numbers.below(1 << 20) / (1 << 20)) ** 3)
                yield edit(parents[place], numbers)
                continue
            text = compose(pool, sizes[numbers.below(len(sizes))], numbers)
            if len(parents) < PARENTS:
                parents.append(text)
            else:
                parents[numbers.below(PARENTS)] = text
            yield text
        group += 1


def build(out: Path, num_bytes: int, pool: Sequence[bytes], sizes: Sequence[int], seed: int = SEED) -> int:
    """Writes documents until their texts hold `num_bytes`; how many there are."""
    count, total, waiting = 0, 0, 0
    texts: list[bytes] = []
    partial = out.with_name(f".{out.name}.partial")
    with pq.ParquetWriter(partial, SCHEMA, compression="zstd") as writer:
        for text in documents(pool, sizes, seed):
            texts.append(text)
            waiting += len(text)
            total += len(text)
            if waiting >= ROW_GROUP_BYTES or total >= num_bytes:
                names = [f"new-{number:08d}" for number in range(count, count + len(texts))]
                column = pa.array(texts, pa.binary()).cast(pa.string())
                writer.write_batch(pa.record_batch([pa.array(names), column], schema=SCHEMA))
                count, waiting, texts = count + len(texts), 0, []
            if total >= num_bytes:
                break
    partial.replace(out)
    return count


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("megabytes", type=float)
    parser.add_argument("corpora", type=Path, nargs="+")
    given = parser.parse_args(arguments)
    sizes = [len(text) for text in read_texts(given.corpora[0])]
    count = build(given.out, int(given.megabytes * 1e6), paragraphs(given.corpora), sizes)
    print(f"{given.out}: {count:,} documents")


if __name__ == "__main__":
    main()
