"""Draw the quickstart's pool and target from the three files of real text that they came from.

    python workflows/make_quickstart_sample.py debian_docs_mix.parquet license_texts.parquet \\
        debian_docs_mix.pairs.parquet license_texts.pairs.parquet --out configs/quickstart/sample

The first two files hold the documents; the pairs files hold their near-duplicates (exact Jaccard of
the sets of word 5-grams). Documents are drawn by whole clusters of near-duplicates, so that the pool
keeps the duplication of its sources and nothing in the target has a near-copy in the pool. Which ones
depends on a hash of their ids alone: the same files give the same rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SEED = 20
SAME = 0.7  # Jaccard from which two documents count as near-duplicates; below it the pairs are incomplete
MAX_CLUSTER = 40  # documents; larger families of licence texts would be most of the pool
FAMILY_SHARE = 0.25  # of a part's bytes, at most, are clusters of several documents
FILES = 5
SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "domain", "package", "license", "text")])


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one source gives: how many bytes of text, under which licence, in documents of which size."""

    package: str
    domain: str
    license: str
    pool_bytes: int
    target_bytes: int = 0
    min_bytes: int = 200
    max_bytes: int = 12_000
    max_cluster: int = MAX_CLUSTER
    skip: tuple[str, ...] = ()
    """Parts of a path that leave a document out."""


# The embedded book's prose is CC-BY-SA; the `print` pages repeat whole books; the page of licences in the
# Python documentation is not Python documentation. rust-doc has one family of 261 near-copies, small
# enough to keep whole.
PARTS = (
    Part(
        package="python3.11-doc",
        domain="python",
        license="PSF-2.0",
        pool_bytes=500_000,
        target_bytes=120_000,
        max_bytes=8_000,
        skip=("license.rst", "copyright.rst"),
    ),
    Part(
        package="postgresql-doc-15",
        domain="database",
        license="PostgreSQL",
        pool_bytes=550_000,
    ),
    Part(
        package="sqlite3-doc",
        domain="database",
        license="LicenseRef-public-domain",
        pool_bytes=350_000,
    ),
    Part(
        package="rust-doc",
        domain="rust",
        license="MIT OR Apache-2.0",
        pool_bytes=650_000,
        max_cluster=300,
        skip=("/embedded-book/", "/print.html"),
    ),
    Part(package="dict-jargon", domain="dictionary", license="LicenseRef-public-domain", pool_bytes=400_000),
    Part(package="licensedcode-data", domain="legal", license="CC-BY-4.0", pool_bytes=1_900_000),
)


@dataclass(frozen=True)
class Document:
    """One source document; `size` is the bytes of its text in UTF-8."""

    id: str
    package: str
    path: str
    text: str

    @property
    def size(self) -> int:
        return len(self.text.encode())


def rank(what: str, key: str) -> int:
    """A number that is random over keys and the same on every machine."""
    return int.from_bytes(blake2b(f"{SEED}:{what}:{key}".encode(), digest_size=8).digest(), "big")


def read_documents(corpus: Path, licences: Path) -> list[Document]:
    """All documents of the two sources, in file order."""
    columns = ["id", "package", "path", "text"]
    rows = pq.ParquetFile(corpus).read(columns=columns).to_pylist()
    documents = [Document(**row) for row in rows]
    notices = pq.ParquetFile(licences).read(columns=["id", "text"]).to_pylist()
    return documents + [Document(row["id"], "licensedcode-data", row["id"], row["text"]) for row in notices]


def cluster_names(ids: Sequence[str], pairs: Sequence[Path]) -> list[str]:
    """The smallest id among the near-duplicates (and theirs, and so on) of each document."""
    smaller = {name: name for name in ids}  # a forest: each id points to a smaller one of its cluster

    def root(name: str) -> str:
        while smaller[name] != name:
            smaller[name] = smaller[smaller[name]]
            name = smaller[name]
        return name

    for a, b in close_pairs(pairs):
        if a in smaller and b in smaller:
            low, high = sorted((root(a), root(b)))
            smaller[high] = low
    return [root(name) for name in ids]


def close_pairs(paths: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """(id, id) of every pair at or above SAME."""
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches():
            # In 32 bits, as the sources hold it: a pair at exactly 0.7 counts.
            jaccard = pc.cast(batch["jaccard5w"], pa.float32())
            close = batch.filter(pc.greater_equal(jaccard, pa.scalar(SAME, pa.float32())))
            yield from zip(close["id_a"].to_pylist(), close["id_b"].to_pylist(), strict=True)


def candidates(part: Part, documents: Sequence[Document]) -> list[Document]:
    """The documents of a part's package that have the right size and path."""
    return [
        document
        for document in documents
        if document.package == part.package
        and part.min_bytes <= document.size <= part.max_bytes
        and not any(word in document.path for word in part.skip)
    ]


def draw(part: Part, clusters: Sequence[Sequence[Document]]) -> tuple[list[Document], list[Document]]:
    """(pool, target) of one part: clusters in random order, first to the target until it has its bytes,
    then to the pool. Clusters of several documents go first, up to their share of the pool's bytes."""
    shuffled = sorted(clusters, key=lambda cluster: rank("draw", cluster[0].id))
    families = [cluster for cluster in shuffled if 1 < len(cluster) <= part.max_cluster]
    singles = [cluster for cluster in shuffled if len(cluster) == 1]
    target, rest = _fill(singles, part.target_bytes)
    pool, _ = _fill(families, int(part.pool_bytes * FAMILY_SHARE))
    more, _ = _fill(rest, part.pool_bytes - sum(document.size for document in pool))
    return pool + more, target


def _fill(
    clusters: Sequence[Sequence[Document]], num_bytes: int
) -> tuple[list[Document], list[Sequence[Document]]]:
    """The clusters that fit, in order, and the ones that are left."""
    taken: list[Document] = []
    left: list[Sequence[Document]] = []
    for cluster in clusters:
        size = sum(document.size for document in cluster)
        if size <= num_bytes:
            taken.extend(cluster)
            num_bytes -= size
        else:
            left.append(cluster)
    return taken, left


def draw_all(
    documents: Sequence[Document], clusters: Sequence[str], parts: Sequence[Part]
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The rows of the pool and of the target, each in an order that mixes the domains."""
    cluster_of = dict(zip((document.id for document in documents), clusters, strict=True))
    pool: list[dict[str, str]] = []
    target: list[dict[str, str]] = []
    for part in parts:
        own = sorted(candidates(part, documents), key=lambda d: (cluster_of[d.id], d.id))
        grouped = [list(group) for _, group in groupby(own, key=lambda d: cluster_of[d.id])]
        for_pool, for_target = draw(part, grouped)
        pool += [_row(part, document) for document in for_pool]
        target += [_row(part, document) for document in for_target]
    return mixed(pool), mixed(target)


def mixed(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rows in an order that depends on a hash of their ids alone."""
    return sorted(rows, key=lambda row: rank("order", row["id"]))


def _row(part: Part, document: Document) -> dict[str, str]:
    return {
        "id": document.id,
        "domain": part.domain,
        "package": part.package,
        "license": part.license,
        "text": document.text,
    }


def write(pool: list[dict[str, str]], target: list[dict[str, str]], out: Path) -> None:
    """`part-*.parquet`, equal numbers of rows in each, and `target_python.jsonl`."""
    out.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, len(pool), -(-len(pool) // FILES))):
        rows = pool[start : start + -(-len(pool) // FILES)]
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        pq.write_table(table, out / f"part-{number}.parquet", compression="zstd", compression_level=19)
    with open(out / "target_python.jsonl", "w", encoding="utf-8") as lines:
        for row in target:
            lines.write(json.dumps({name: row[name] for name in ("id", "domain", "text")}) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("licences", type=Path)
    parser.add_argument("pairs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("configs/quickstart/sample"))
    given = parser.parse_args(arguments)
    documents = read_documents(given.corpus, given.licences)
    clusters = cluster_names([document.id for document in documents], given.pairs)
    pool, target = draw_all(documents, clusters, PARTS)
    write(pool, target, given.out)
    for name, rows in (("pool", pool), ("target", target)):
        print(f"{name}: {len(rows)} documents, {sum(len(row['text'].encode()) for row in rows)} bytes")


if __name__ == "__main__":
    main()
