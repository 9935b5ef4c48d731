"""datatrove: the four stages of its minhash_deduplication example; connected components of all band matches.

The defaults of its example except for the number of permutations: 16 bands of 8 (it has 14 of 8). Its
normalisation of texts (among it: numbers become 0) and its English word tokeniser are its defaults.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
)
from datatrove.pipeline.readers import ParquetReader
from datatrove.utils.hashing import HashConfig

from workflows.bench.peers.task import NGRAM, PERMUTATIONS, Task

BANDS = 16


def main() -> None:
    task = Task.from_command_line()
    config = MinhashConfig(
        n_grams=NGRAM,
        num_buckets=BANDS,
        hashes_per_bucket=PERMUTATIONS // BANDS,
        hash_config=HashConfig(precision=64),
    )
    reader = ParquetReader(str(task.corpus.parent), glob_pattern=task.corpus.name, read_metadata=False)
    signatures, buckets, remove = (str(task.work / name) for name in ("signatures", "buckets", "remove"))
    kept: list[str] = []

    def collect(data: Iterable[Any], rank: int = 0, world_size: int = 1) -> Iterable[Any]:
        for document in data:
            kept.append(document.id)
            yield document

    stages = (
        ([reader, MinhashDedupSignature(signatures, config)], 1),
        ([MinhashDedupBuckets(signatures, buckets, config=config)], BANDS),
        ([MinhashDedupCluster(buckets, remove, config=config)], 1),
        ([reader, MinhashDedupFilter(remove), collect], 1),
    )
    for number, (pipeline, tasks) in enumerate(stages):
        logs = str(task.work / f"logs-{number}")
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=min(tasks, task.workers), logging_dir=logs).run()
    task.write(kept)


if __name__ == "__main__":
    main()
