"""Claim: adversarial filtering brings a discriminator that finds the real one of four endings in more than
half of all cases down to chance; AFLite takes out a quarter of the rows that an artefact gives away.

    python -m workflows.adversarial swag TEXTS.parquet... [--rows 1500] [--pool 50]
    python -m workflows.adversarial aflite LABELS.parquet [--text text] [--label label] [--planted 0.7]

`swag` (Zellers et al. 2018): sentences of the texts are cut into a context and its real ending; a trigram
model of other sentences writes a pool of wrong ones. Prints the accuracy on held-out rows, iteration by
iteration (chance is .25), and the controls: distractors drawn at random, and another kind of discriminator
than the one that filtered. `aflite` (Le Bras et al. 2020): a word that gives the label away is planted in
70 % of the texts; prints their share before and after, and the accuracy, on texts with and without such
words, of models trained on what AFLite keeps, on as many random rows and on all rows, over five seeds.

Found: words .586 -> .255, but characters only .648 -> .523 (sentence_polarity). Planted share .703 -> .537
(subjectivity), .704 -> .348 (sentence_polarity); without the artefact +.015 +- .004 and +.038 +- .006 against
random rows. With nothing planted (three seeds): -.002 +- .004 and -.113 +- .029.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from gpu_ops.adversarial_filter import AdversarialFilter
from gpu_ops.aflite import Aflite
from gpu_ops.kernels.endings import Features
from operators.kernels.counter import mix64

WORDS = re.compile(r"\w+|[^\w\s]")
KEEP = 1 / 3
SEEDS = range(5)


def column(files: Sequence[Path], name: str) -> list[Any]:
    """The values of a column, file after file, without nulls."""
    parts = (pq.ParquetFile(file).read([name]).column(name).to_pylist() for file in files)
    return [value for part in parts for value in part if value is not None]


def sentences(texts: Sequence[str]) -> list[list[str]]:
    """The words of all different sentences of 10 to 30 words, in random order."""
    found = {
        tuple(words)
        for text in texts
        for piece in re.split(r"(?<=[.!?])\s+|\n\s*\n", text)
        if 10 <= len(words := WORDS.findall(piece.lower())) <= 30
    }
    ordered = [list(words) for words in sorted(found)]
    Random(1).shuffle(ordered)
    return ordered


class Trigrams:
    """Continues two words by what followed them in the sentences, as often as it did; where they never
    stood together, by what followed the last one, and where that is unknown, by any word."""

    def __init__(self, known: Sequence[list[str]]) -> None:
        self.after: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
        for words in known:
            for i, word in enumerate([*words, ""]):
                for start in range(max(0, i - 2), i + 1):
                    self.after[tuple(words[start:i])].append(word)

    def ending(self, context: list[str], length: int, luck: Random) -> str:
        """At most so many words; shorter where a sentence ended there."""
        words = list(context)
        while len(words) < len(context) + length:
            known = next(
                found for i in (2, 1, 0) if (found := self.after.get(tuple(words[len(words) - i :])))
            )
            if not (word := luck.choice(known)):
                break
            words.append(word)
        return " ".join(words[len(context) :])


def questions(known: Sequence[list[str]], rows: int, pool: int) -> pa.RecordBatch:
    """Contexts of 4 words, their real endings, and pools of generated ones of like length. The model has
    read the other sentences only, at least half of all: else fakes would quote real endings."""
    rows = min(rows, len(known) // 2)
    model, luck = Trigrams(known[rows:]), Random(2)
    known = known[:rows]
    made = [[model.ending(words[:4], len(words) - 4, luck) for _ in range(pool)] for words in known]
    uid = np.arange(len(known))
    columns = {
        "uid": pa.array(uid),
        "key": pa.array(mix64(uid.astype(np.uint64))),
        "context": pa.array([" ".join(words[:4]) for words in known], pa.large_string()),
        "ending": pa.array([" ".join(words[4:]) for words in known], pa.large_string()),
        "pool": pa.array(made, pa.list_(pa.large_string())),
    }
    return pa.record_batch(columns)


def swag(arguments: argparse.Namespace) -> None:
    """Prints the course of the filtering, and what two kinds of discriminator make of its result."""
    rows = questions(sentences(column(arguments.files, "text")), arguments.rows, arguments.pool)
    op = AdversarialFilter(context="context", seed=1)
    state = op.fit(iter([rows]), "cpu", {})
    for i, (accuracy, count) in enumerate(zip(state["accuracy"], state["replaced"], strict=True), 1):
        print(f"iteration {i:2}: accuracy {accuracy:.3f}, replaced {count}")
    filtered = rows.set_column(4, "pool", op.columns(rows, state)["distractors"])
    print(f"{rows.num_rows} rows, pools of {arguments.pool}; 5-fold accuracy, chance .250:")
    for kind in ("words", "characters"):
        before, after = accuracy_of(rows, kind), accuracy_of(filtered, kind)
        print(f"  {kind:10}: random distractors {before:.3f}, filtered ones {after:.3f}")


def accuracy_of(rows: pa.RecordBatch, kind: Features) -> float:
    """How often new discriminators find the real ending among three random ones of the pool."""
    op = AdversarialFilter(context="context", iterations=0, discriminators=(kind,), seed=3)
    return float(op.fit(iter([rows]), "cpu", {})["solved"].mean())


def aflite(arguments: argparse.Namespace) -> None:
    """Prints the planted share, and the accuracies of models trained on what is kept, over seeds."""
    table = pq.ParquetFile(arguments.file).read([arguments.text, arguments.label])
    texts = table.column(arguments.text).to_pylist()
    label = np.unique(table.column(arguments.label).to_pylist(), return_inverse=True)[1]
    shares, gains = [], []
    for seed in SEEDS:
        data = plant(texts, label, arguments.planted, seed)
        kept = survivors(data, seed)
        random = np.random.default_rng(seed).permutation(len(data.label))[: len(kept)]
        shares.append((data.marked.mean(), data.marked[kept].mean()))
        ours, theirs, full = (accuracies(data, rows) for rows in (kept, random, np.arange(len(data.label))))
        gains.append(ours - theirs)
        print(
            f"seed {seed}: {len(kept)} of {len(data.label)} rows, planted {shares[-1][0]:.3f} -> "
            f"{shares[-1][1]:.3f}, accuracy {ours[0]:.3f} with and {ours[1]:.3f} without artefacts "
            f"(random rows {theirs[0]:.3f}, {theirs[1]:.3f}; all rows {full[0]:.3f}, {full[1]:.3f})"
        )
    before, after = np.mean(shares, axis=0)
    print(f"planted share {before:.3f} -> {after:.3f}" + (f" ({after / before - 1:+.0%})" if before else ""))
    errors = np.std(gains, axis=0, ddof=1) / np.sqrt(len(gains))
    for name, mean, error in zip(("with", "without"), np.mean(gains, axis=0), errors, strict=True):
        print(f"accuracy {name} artefacts, AFLite minus random: {mean:+.4f} +- {error:.4f}")


@dataclass(frozen=True)
class Planted:
    """vectors, label, marked: of the rows to choose from, and which have the artefact. with_word and
    without: embeddings of test texts, 70 % of them with it, and none."""

    vectors: Any
    label: Any
    marked: Any
    with_word: Any
    without: Any
    test_label: Any


def plant(texts: Sequence[str], label: Any, share: float, seed: int) -> Planted:
    """A word that names the label in front of a share of the texts; embeddings by TF-IDF and SVD."""
    luck = np.random.default_rng(seed)
    order, marked = luck.permutation(len(texts)), luck.random(len(texts)) < share
    clean, label = [texts[i] for i in order], label[order]
    dirty = [
        f"artefact{one} {text}" if m else text for one, text, m in zip(label, clean, marked, strict=True)
    ]
    end = len(texts) * 9 // 10
    tfidf, svd = TfidfVectorizer(min_df=2, sublinear_tf=True), TruncatedSVD(100, random_state=0)
    vectors = svd.fit_transform(tfidf.fit_transform(dirty[:end])).astype(np.float32)
    with_word, without = (svd.transform(tfidf.transform(one[end:])) for one in (dirty, clean))
    return Planted(vectors, label[:end], marked[:end], with_word, without, label[end:])


def survivors(data: Planted, seed: int) -> Any:
    """The rows that AFLite keeps."""
    uid = np.arange(len(data.label))
    columns = {
        "uid": pa.array(uid),
        "key": pa.array(mix64(uid.astype(np.uint64))),
        "embedding": pa.array(list(data.vectors), pa.list_(pa.float32())),
        "label": pa.array(data.label),
    }
    rows, op = pa.record_batch(columns), Aflite(keep_share=KEEP, seed=seed)
    return np.flatnonzero(op.columns(rows, op.fit(iter([rows]), "cpu", {}))["drop"].is_null())


def accuracies(data: Planted, rows: Any) -> Any:
    """Of a model trained on these rows: on test texts with artefacts, and without."""
    model = LogisticRegression(C=100, max_iter=1000).fit(data.vectors[rows], data.label[rows])
    return np.array([model.score(test, data.test_label) for test in (data.with_word, data.without)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    studies = parser.add_subparsers(required=True)
    first = studies.add_parser("swag")
    first.add_argument("files", type=Path, nargs="+")
    first.add_argument("--rows", type=int, default=1500)
    first.add_argument("--pool", type=int, default=50)
    first.set_defaults(study=swag)
    second = studies.add_parser("aflite")
    second.add_argument("file", type=Path)
    second.add_argument("--text", default="text")
    second.add_argument("--label", default="label")
    second.add_argument("--planted", type=float, default=0.7, help="0: no artefact, the control")
    second.set_defaults(study=aflite)
    chosen = parser.parse_args()
    chosen.study(chosen)
