"""What the programs that judge documents by quality rules share: arguments, input and output."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

GROUPS = ("gopher_quality", "gopher_repetition", "c4", "fineweb")
WARM_UP = 20  # documents


@dataclass(frozen=True)
class FilterTask:
    """corpus: a Parquet file with the column text. out: the folder for verdicts.parquet (a column of reasons
    for each group, null where a document stays) and cost.json (CPU-seconds, by group and for `all`).
    words: how the peer is to split words: `own`, or at white space."""

    corpus: Path
    out: Path
    words: str

    @classmethod
    def from_command_line(cls) -> FilterTask:
        corpus, out, words = sys.argv[1:]
        return cls(Path(corpus), Path(out), words)

    def texts(self) -> pa.Array:
        """The documents, in memory: reading them is nobody's cost."""
        return pq.read_table(self.corpus, columns=["text"]).column("text").combine_chunks()

    def write(self, verdicts: dict[str, Sequence[str | None]], cpu_s: dict[str, float]) -> None:
        """The verdicts of every group, and what they cost."""
        columns = {name: pa.array(reasons, pa.string()) for name, reasons in verdicts.items()}
        pq.write_table(pa.table(columns), self.out / "verdicts.parquet")
        (self.out / "cost.json").write_text(json.dumps(cpu_s), "utf-8")


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """(CPU-seconds of this process, what it gives)."""
    began = time.process_time()
    result = run()
    return time.process_time() - began, result
