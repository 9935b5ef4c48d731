"""What the peers' programs share: arguments, input, output and, for peers that have none, a tokeniser."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

NGRAM = 5  # words
PERMUTATIONS = 128
ROWS = 4096
_words = re.compile(r"\w+").findall


@dataclass(frozen=True)
class Task:
    """corpus: a Parquet file with the columns id and text. kept: the file (or folder of files) of kept ids.
    work: an empty folder for whatever the peer leaves behind. threshold: Jaccard index. workers: cores."""

    corpus: Path
    kept: Path
    work: Path
    threshold: float
    workers: int

    @classmethod
    def from_command_line(cls) -> Task:
        corpus, kept, work, threshold, workers = sys.argv[1:]
        return cls(Path(corpus), Path(kept), Path(work), float(threshold), int(workers))

    def documents(self) -> Iterator[tuple[list[str], list[str]]]:
        """Batches of (ids, texts)."""
        for batch in pq.ParquetFile(self.corpus).iter_batches(ROWS, columns=["id", "text"]):
            yield batch.column("id").to_pylist(), batch.column("text").to_pylist()

    def write(self, kept: Sequence[str]) -> None:
        """The ids of the documents that stay."""
        pq.write_table(pa.table({"id": pa.array(kept, pa.string())}), self.kept)


def shingles(text: str) -> list[str]:
    r"""The word 5-grams of a text, repeats included; words are runs of `\w`, lower-cased; a text of up to 5
    words is one. The faster of the two usual ways to write this: the other, a comprehension of
    `" ".join(words[i : i + 5])`, takes 16 % longer."""
    words = _words(text.lower())
    if len(words) <= NGRAM:
        return [" ".join(words)]
    return list(map(" ".join, zip(*(words[k:] for k in range(NGRAM)), strict=False)))
