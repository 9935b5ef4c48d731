"""tamis: `tamis run` of one minhash_dedup node, candidates verified by exact Jaccard, keeps the first."""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline import memory
from pipeline.cli import main as tamis

memory.keep_freed()  # as `tamis` does it, before anything imports pyarrow

from workflows.bench.peers.task import NGRAM, PERMUTATIONS, Task  # noqa: E402

CONFIG = """\
source: {{path: "{corpus}", id: id, text: text}}
nodes:
  fuzzy: {{op: minhash_dedup, threshold: {threshold}, ngram: {ngram}, permutations: {permutations}}}
export: {{input: fuzzy, path: "{kept}", format: index}}
"""


def main() -> int:
    memory.CLEAR = Path("/dev/null")  # a run resets its peak for each task; here the whole process counts
    task = Task.from_command_line()
    config = task.work / "dedup.yaml"
    config.write_text(
        CONFIG.format(
            corpus=task.corpus,
            threshold=task.threshold,
            ngram=NGRAM,
            permutations=PERMUTATIONS,
            kept=task.kept,
        )
    )
    return tamis(["run", str(config), "--workers", str(task.workers), "--store", str(task.work / "store")])


if __name__ == "__main__":
    sys.exit(main())
