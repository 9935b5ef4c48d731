"""datasketch: MinHash and MinHashLSH of its documentation; every band match counts, keeps the first."""

from __future__ import annotations

from datasketch import MinHash, MinHashLSH

from workflows.bench.peers.task import PERMUTATIONS, Task, shingles


def main() -> None:
    task = Task.from_command_line()
    lsh = MinHashLSH(threshold=task.threshold, num_perm=PERMUTATIONS)
    kept: list[str] = []
    for ids, texts in task.documents():
        tokens = ([gram.encode() for gram in set(shingles(text))] for text in texts)
        for name, sketch in zip(ids, MinHash.generator(tokens, num_perm=PERMUTATIONS), strict=True):
            if not lsh.query(sketch):
                lsh.insert(name, sketch)
                kept.append(name)
    task.write(kept)


if __name__ == "__main__":
    main()
