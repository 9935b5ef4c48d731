"""Claim: tamis removes near-duplicates for a fraction of what any peer takes, and removes no other document.

    python -m workflows.bench.dedup CORPUS.parquet OUT [--pairs PAIRS.parquet] [--scale 1,2,4,8]

Prints tamis beside datasketch, rensa, gaoya, text-dedup and datatrove on CORPUS (columns id and text), each
in a process of its own, in CPU-seconds (user and system time of the process and its children, from start
to exit), wall time and peak memory, and judges what they removed by all near-duplicate pairs: those of
PAIRS, or those that an exact join finds. With --scale it builds corpora of so many times the size out of the
paragraphs of CORPUS and of --more, and prints the marginal cost. All figures go to OUT/dedup.json and, as
Markdown, to OUT/dedup.md.

What is the same for everyone: Parquet in, ids of the kept documents out; word 5-grams; 128 permutations; a
threshold of 0.8; the numbers of bands and rows are each one's own choice for these (datatrove, which has no
threshold, gets 16 bands of 8); files are in the page cache, compiled kernels in theirs (each runs twice on
200 documents before; the second of these is the column 'of it start'). Programs use the peers as the peers'
documentation does; that some must tokenise in Python is part of what they cost a user.

What is not the same. Words: rensa and datasketch get the words of the truth, as tamis does; gaoya splits at
white space only, text-dedup splits at each non-word character, datatrove uses spaCy and reads numbers as 0.
So near 0.8 they and the truth may differ about the same pair: 'wrong' are removals without any partner of
J >= 0.8, 'far' those without any of J >= 0.7, which other ways to split hardly explain. Verification:
tamis compares the shingle sets of every removed document with a kept one's, rensa and gaoya compare
signatures, the others nothing; text-dedup and datatrove remove all but one of whatever bands connect, so that
'no kept partner' is more than 'wrong' by design. Output: tamis also commits its columns to a store and writes
a report, which is in its cost. Peak memory is that of the largest process. With several workers rensa and
datasketch still tokenise on one core.

The peers are in the extra `bench` but for text-dedup, which asks for Spark and for old versions of common
packages: give it an environment of its own, --python text-dedup=/path/to/its/python. A peer that is not
installed or fails is listed with why.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workflows.bench import recombine, tables
from workflows.bench.contest import PEERS, Contest, Corpus, Peer
from workflows.bench.truth import Pairs, exact_pairs, judge, read_ids, read_pairs, write_pairs

FAR = 0.1  # below the threshold: more than another way to split words usually changes
START_DOCUMENTS = 200
FASTEST = 2  # peers beside tamis in the scaling curve, unless they are named


def describe(name: str, path: Path) -> Corpus:
    """The size of a corpus."""
    documents = size = 0
    for batch in pq.ParquetFile(path).iter_batches(4096, columns=["text"]):
        documents += batch.num_rows
        size += pc.sum(pc.binary_length(batch.column("text"))).as_py() or 0
    return Corpus(name, path.resolve(), documents, size / 1e6)


def first_rows(corpus: Path, rows: int, out: Path) -> Path:
    """The corpus's first rows as a corpus."""
    batch = next(pq.ParquetFile(corpus).iter_batches(rows, columns=["id", "text"]))
    pq.write_table(pa.Table.from_batches([batch]), out)
    return out


def pairs_of(corpus: Corpus, ids: list[str], floor: float, given: Path | None, out: Path) -> Pairs:
    """All pairs at or above the floor: given, found before, or found now."""
    path = given or out / f"{corpus.name}-{floor:.3f}.pairs.parquet"
    if not path.exists():
        print(f"finding all pairs of {corpus.name} with J >= {floor:.2f} ...", flush=True)
        write_pairs(exact_pairs(corpus.path, floor), ids, path)
    return read_pairs(path, ids, floor)


class Bench:
    """The runs asked for, and the truth that judges them."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.out: Path = given.out.resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        self.contest = Contest(self.out, given.threshold, dict(given.python), given.repeats)
        self.peers = [PEERS[name] for name in given.peers]

    def compare(self) -> tuple[list[dict[str, Any]], dict[str, float]]:
        """Every peer on the corpus with one worker, and what each takes to start."""
        small = describe("start", first_rows(self.given.corpus, START_DOCUMENTS, self.out / "start.parquet"))
        corpus = describe("corpus", self.given.corpus)
        starts: dict[str, float] = {}
        results = []
        for peer in self.peers:
            self.contest.run(peer, small, 1)
            starts |= {r["peer"]: r["cpu_s"] for r in [self.contest.run(peer, small, 1)] if "error" not in r}
            results.append(self._shown(peer, corpus, 1))
        return self._judged(results, corpus, self.given.pairs), starts

    def scale(self, peers: Sequence[Peer]) -> list[dict[str, Any]]:
        """These peers on corpora of so many times the size, with so many workers."""
        one = describe("corpus", self.given.corpus)
        pool = recombine.paragraphs([self.given.corpus, *self.given.more])
        sizes = [len(text) for text in recombine.read_texts(self.given.corpus)]
        results = []
        for times in self.given.scale:
            path = self.out / f"times-{times}.parquet"
            if not path.exists():
                recombine.build(path, int(times * one.megabytes * 1e6), pool, sizes)
            corpus = describe(f"times-{times}", path)
            found = [self._shown(peer, corpus, workers) for workers in self.given.workers for peer in peers]
            results += found if self.given.unjudged else self._judged(found, corpus, None)
        return results

    def _shown(self, peer: Peer, corpus: Corpus, workers: int) -> dict[str, Any]:
        result = self.contest.run(peer, corpus, workers)
        said = result.get("error") or f"{result['cpu_s']:.2f} CPU-s, {result['wall_s']:.1f} s"
        print(f"{peer.name} on {corpus.name}, workers {workers}: {said}", flush=True)
        return result

    def _judged(
        self, results: list[dict[str, Any]], corpus: Corpus, given: Path | None
    ) -> list[dict[str, Any]]:
        """The results with counts in place of the kept ids."""
        ids = read_ids(corpus.path)
        pairs = pairs_of(corpus, ids, self.given.threshold - FAR, given, self.out)
        for result in results:
            if "kept" in result:
                result["judged"] = judge(pairs, ids, result.pop("kept"), self.given.threshold)
        return results


def fastest(results: Sequence[dict[str, Any]]) -> list[Peer]:
    """tamis, and the peers that took the fewest CPU-seconds."""
    ran = sorted((r for r in results if "error" not in r), key=lambda r: r["cpu_s"])
    return [PEERS["tamis"], *[PEERS[r["peer"]] for r in ran if r["peer"] != "tamis"][:FASTEST]]


def earlier(before: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What an earlier run measured of the same corpora with peers that did not run now, marked as such."""
    corpora = {(r["corpus"], r["documents"], r["workers"]) for r in now}
    ran = {r["peer"] for r in now}
    return [
        {**r, "earlier": True}
        for r in before
        if r["peer"] not in ran and (r["corpus"], r["documents"], r["workers"]) in corpora
    ]


def machine() -> str:
    """The processor and the number of cores."""
    model = ""
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return f"{os.cpu_count()} cores of {model or platform.machine()}"


def save(out: Path, figures: dict[str, Any]) -> None:
    """Every figure, in OUT/dedup.json."""
    (out / "dedup.json").write_text(json.dumps(figures, indent=1), "utf-8")


def _errors(results: Sequence[dict[str, Any]]) -> list[str]:
    """Why a peer has no figures."""
    return [f"{r['peer']} ({r['corpus']}): {r['error']}" for r in results if "error" in r]


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no peer {unknown[0]!r}; there are {', '.join(PEERS)}")
    return names


def _assignment(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    if name not in PEERS or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not PEER=PYTHON with a peer of {', '.join(PEERS)}")
    return name, path


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=Path, help="all near-duplicate pairs: id_a, id_b, jaccard5w")
    parser.add_argument("--peers", type=_names, default=list(PEERS), help=",".join(PEERS))
    parser.add_argument("--threshold", type=float, default=0.8)
    parser.add_argument("--repeats", type=int, default=1, help="runs of each, of which the cheapest counts")
    parser.add_argument(
        "--scale", type=_numbers, default=[], help="sizes of built corpora, for instance 1,2,4,8"
    )
    parser.add_argument("--scale-peers", type=_names, help="tamis and the two fastest where not given")
    parser.add_argument("--workers", type=_numbers, default=[1], help="of the scaled runs, for instance 1,2")
    parser.add_argument("--more", type=Path, nargs="*", default=[], help="more paragraphs for built corpora")
    parser.add_argument("--unjudged", action="store_true", help="leave out the truth of the built corpora")
    parser.add_argument("--earlier", type=Path, help="a dedup.json whose figures stand for peers not run now")
    parser.add_argument("--python", type=_assignment, nargs="*", default=[], help="PEER=PYTHON")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    asked = arguments(given)
    bench = Bench(asked)
    before = json.loads(asked.earlier.read_text("utf-8")) if asked.earlier else {}
    results, starts = bench.compare()
    results += earlier(before.get("compared", []), results)
    starts = before.get("start_cpu_s", {}) | starts
    figures = {"machine": machine(), "threshold": asked.threshold, "compared": results, "start_cpu_s": starts}
    save(bench.out, figures)  # the scaled runs take long
    documents, megabytes = results[0]["documents"], results[0]["megabytes"]
    head = f"J >= {asked.threshold}, {documents:,} documents, {megabytes:.1f} MB of text; {machine()}"
    parts = [head, tables.compared(results, starts)]
    scaled: list[dict[str, Any]] = []
    if asked.scale:
        scaled = bench.scale([PEERS[n] for n in asked.scale_peers] if asked.scale_peers else fastest(results))
        scaled += earlier(before.get("scaled", []), scaled)
        found = tables.margins(scaled)
        parts += [tables.scaled(scaled), tables.marginal(found)]
        figures |= {"scaled": scaled, "margins": found}
        save(bench.out, figures)
    text = "\n\n".join([*parts, *_errors([*results, *scaled])])
    (bench.out / "dedup.md").write_text(text + "\n", "utf-8")
    print(f"\n{text}\n\nfigures: {bench.out / 'dedup.json'}, tables: {bench.out / 'dedup.md'}")


if __name__ == "__main__":
    main()
