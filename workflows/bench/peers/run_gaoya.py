"""gaoya: the index of its README with its own tokeniser; estimates from signatures, keeps the first.

One worker asks the index for each document and inserts those that have no match, which costs it the fewest
CPU-seconds; several insert and query all at once (`par_bulk_insert_docs`), as its notebook does.
"""

from __future__ import annotations

from gaoya.minhash import MinHashStringIndex

from workflows.bench.peers.task import NGRAM, PERMUTATIONS, Task


def main() -> None:
    task = Task.from_command_line()
    index = MinHashStringIndex(
        hash_size=32,
        jaccard_threshold=task.threshold,
        num_bands=None,  # bands of its own choice
        band_size=None,
        num_hashes=PERMUTATIONS,
        analyzer="word",
        lowercase=True,
        ngram_range=(NGRAM, NGRAM),
        id_container="vec",
    )
    task.write(one_by_one(task, index) if task.workers == 1 else all_at_once(task, index))


def one_by_one(task: Task, index: MinHashStringIndex) -> list[str]:
    kept: list[str] = []
    for ids, texts in task.documents():
        for name, text in zip(ids, texts, strict=True):
            if not index.query(text):
                index.insert_document(len(kept), text)
                kept.append(name)
    return kept


def all_at_once(task: Task, index: MinHashStringIndex) -> list[str]:
    names: list[str] = []
    documents: list[str] = []
    for ids, texts in task.documents():
        names += ids
        documents += texts
    index.par_bulk_insert_docs(list(range(len(documents))), documents)
    kept: set[int] = set()
    for number, found in enumerate(index.par_bulk_query(documents)):
        if kept.isdisjoint(found):
            kept.add(number)
    return [names[number] for number in sorted(kept)]


if __name__ == "__main__":
    main()
