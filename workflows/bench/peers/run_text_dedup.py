"""text-dedup: `python -m text_dedup.minhash` of its README; connected components of all band matches."""

from __future__ import annotations

from datasets import load_from_disk
from text_dedup import minhash

from workflows.bench.peers.task import NGRAM, PERMUTATIONS, Task


def main() -> None:
    task = Task.from_command_line()
    out = task.work / "out"
    given = {
        "path": "parquet",
        "data_files": task.corpus,
        "split": "train",
        "cache_dir": task.work / "cache",
        "output": out,
        "column": "text",
        "ngram": NGRAM,
        "num_perm": PERMUTATIONS,
        "threshold": task.threshold,
        "num_proc": task.workers,
    }
    arguments = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    minhash.main(args=arguments, standalone_mode=False)
    task.write(load_from_disk(str(out))["id"][:])


if __name__ == "__main__":
    main()
