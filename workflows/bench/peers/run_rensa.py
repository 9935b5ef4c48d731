"""rensa: 'Keep unique documents' of its README; estimates from signatures, keeps the first."""

from __future__ import annotations

from rensa import RMinHashDeduplicator

from workflows.bench.peers.task import PERMUTATIONS, Task, shingles


def main() -> None:
    task = Task.from_command_line()
    dedup = RMinHashDeduplicator(threshold=task.threshold, num_perm=PERMUTATIONS, use_lsh=True)
    kept: list[str] = []
    for ids, texts in task.documents():
        stays = dedup.add_pairs((name, shingles(text)) for name, text in zip(ids, texts, strict=True))
        kept += [name for name, stay in zip(ids, stays, strict=True) if stay]
    task.write(kept)


if __name__ == "__main__":
    main()
