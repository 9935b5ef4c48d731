"""Claim: tamis judges documents by the rules of Gopher, C4 and FineWeb for a small part of datatrove's cost.

    python -m workflows.bench.filters CORPUS.parquet OUT [--rows 2000] [--python PYTHON_WITH_DATATROVE]

Prints CPU-seconds and MB/s/core of both for each group of rules and for all, judging alone: documents are in
memory, kernels and tokenisers warm. Then, for each group, how many documents both keep, both drop, and only
one of them drops, with the commonest reasons; first as each splits words, then with datatrove's word
tokeniser replaced by white space, so that the second table shows what else differs. All figures go to
OUT/filters.json and, as Markdown, to OUT/filters.md.

What is not the same. Words: datatrove's tokeniser makes words of punctuation, so it counts more of them:
its n-grams are shorter, its ratios of hashes, ellipses and line feeds smaller, and so is its share of words
with a letter, which Gopher wants at 80 %. Lines: datatrove ends them at other control characters too,
counts an empty line at the ends of a text among repeated lines, and compares lines with the carriage return
of Windows' line ends. C4: datatrove lets a line end with an apostrophe too, counts words before citations
are gone, and has spaCy count the sentences. FineWeb: some ends of sentences of newer Unicode. In `all`
tamis judges the text as it is, datatrove's filters what C4 left of it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workflows.bench.contest import ROOT
from workflows.bench.peers.filter_task import GROUPS
from workflows.bench.tables import table

RUNS = (("tamis", "own"), ("datatrove", "own"), ("datatrove", "whitespace"))
SHOWN = 4  # pairs of reasons
Verdicts = dict[str, list[str | None]]


def some_rows(corpus: Path, rows: int, out: Path) -> tuple[Path, float]:
    """(a corpus of so many documents, evenly spaced, its megabytes of text)."""
    texts = pq.read_table(corpus, columns=["text"]).column("text").combine_chunks().cast(pa.large_string())
    places = np.unique(np.linspace(0, len(texts) - 1, min(rows, len(texts))).astype(np.int64))
    taken = texts.take(pa.array(places))
    pq.write_table(pa.table({"text": taken}), out)
    return out, (pc.sum(pc.binary_length(taken)).as_py() or 0) / 1e6


def run(peer: str, words: str, corpus: Path, out: Path, python: str) -> tuple[Verdicts, dict[str, float]]:
    """The verdicts and CPU-seconds of one program, in a process of its own with one thread."""
    folder = out / f"{peer}-{words}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA", "RAYON")}
    command = [python, "-m", f"workflows.bench.peers.filter_{peer}", str(corpus), str(folder), words]
    subprocess.run(command, env=os.environ | threads | {"PYTHONPATH": str(ROOT)}, cwd=folder, check=True)
    verdicts: Verdicts = pq.read_table(folder / "verdicts.parquet").to_pydict()
    return verdicts, json.loads((folder / "cost.json").read_text("utf-8"))


def confusion(ours: Sequence[str | None], theirs: Sequence[str | None]) -> dict[str, Any]:
    """How many documents both keep, both drop, and only one of them drops, with why."""
    pairs = list(zip(ours, theirs, strict=True))
    return {
        "both_keep": sum(a is None and b is None for a, b in pairs),
        "both_drop": sum(a is not None and b is not None for a, b in pairs),
        "only_tamis": Counter(a for a, b in pairs if a is not None and b is None).most_common(),
        "only_datatrove": Counter(b for a, b in pairs if a is None and b is not None).most_common(),
    }


def speeds(costs: dict[str, dict[str, float]], megabytes: float) -> str:
    """A line for each group of rules: MB/s of one core, and how many times as much the peer takes."""
    rows = []
    for group in (*GROUPS, "all"):
        ours, theirs = costs["tamis-own"][group], costs["datatrove-own"][group]
        cells = [f"{seconds:.3f}" for seconds in (ours, theirs)]
        cells += [f"{megabytes / seconds:.1f}" for seconds in (ours, theirs)]
        rows.append([group, *cells, f"{theirs / ours:.0f}"])
    return table(("rules", "tamis CPU-s", "datatrove CPU-s", "tamis MB/s", "datatrove MB/s", "x tamis"), rows)


def agreements(found: dict[str, dict[str, Any]]) -> str:
    """A line for each group: documents by both verdicts, and why only one drops."""
    rows = []
    for group, counts in found.items():
        mine, other = (sum(n for _, n in counts[key]) for key in ("only_tamis", "only_datatrove"))
        total = counts["both_keep"] + counts["both_drop"] + mine + other
        why = [
            f"{reason.removeprefix(group).lstrip(':_ ')} {n}"
            for key in ("only_tamis", "only_datatrove")
            for reason, n in counts[key][:SHOWN]
        ]
        same = 100 * (counts["both_keep"] + counts["both_drop"]) / total
        cells = [f"{n:,}" for n in (counts["both_keep"], counts["both_drop"], mine, other)]
        rows.append([group, *cells, f"{same:.1f} %", ", ".join(why)])
    head = ("rules", "both keep", "both drop", "only tamis drops", "only datatrove", "the same", "why")
    return table(head, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("corpus", type=Path, help="a Parquet file with the column text")
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=2000, help="documents to judge, evenly spaced")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has datatrove")
    given = parser.parse_args(arguments)
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    corpus, megabytes = some_rows(given.corpus, given.rows, out / "corpus.parquet")
    verdicts, costs = {}, {}
    for peer, words in RUNS:
        python = sys.executable if peer == "tamis" else given.python
        verdicts[f"{peer}-{words}"], costs[f"{peer}-{words}"] = run(peer, words, corpus, out, python)
    agreed = {
        words: {
            group: confusion(verdicts["tamis-own"][group], verdicts[f"datatrove-{words}"][group])
            for group in GROUPS
        }
        for words in ("own", "whitespace")
    }
    documents = len(verdicts["tamis-own"]["all"])
    parts = [
        f"{documents:,} documents, {megabytes:.1f} MB of text\n",
        speeds(costs, megabytes),
        "\nVerdicts, each with its own words:\n",
        agreements(agreed["own"]),
        "\nVerdicts, datatrove with words at white space:\n",
        agreements(agreed["whitespace"]),
    ]
    (out / "filters.md").write_text("\n".join(parts) + "\n", "utf-8")
    facts = {"documents": documents, "megabytes": megabytes, "cpu_s": costs, "agreement": agreed}
    (out / "filters.json").write_text(json.dumps(facts, indent=1), "utf-8")
    print("\n".join(parts))


if __name__ == "__main__":
    main()
