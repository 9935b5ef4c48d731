"""Claim: deduplicated data is regurgitated ten times less and generalises better (Lee et al. 2022).

    python -m workflows.memorisation OUT [FILE ...] [--seeds 5] [--full]

Lee et al. (Deduplicating Training Data Makes Language Models Better) find that models emit memorised text
ten times less often after deduplication, at the same or a better loss. Here 20 passages are planted into real
text (FILEs of Parquet with a column text, or plain text; without any, the quickstart's sample): ten as
documents of their own, ten inside other documents, each 300 times, together a third of the tokens. One DAG
makes three data sets: everything; no duplicate documents (exact and near); no repeated passages either. A
small Llama is trained on each from scratch, for the same number of tokens, seed by seed. Then each model gets
the first 20 tokens of every passage and continues greedily: if the next 24 tokens are exactly those of the
passage, it is regurgitated.

The held-out documents have no near-duplicate among the others, and those that the loss is reported on have no
passage in them. The claim asks for a tenth of the regurgitation, and 0.05 nats a token less held-out loss; it
is about whole documents, as the paper's near-duplicates are. Two limits. Held-out documents keep the
boilerplate of natural text (licences, among others), which cutting repeated passages takes from the training
data: its loss is higher on them. And the gain is not one of unique text as such: with --overlap 0.05, which
leaves out documents with boilerplate, everything was better than either deduplicated set at 800,000 tokens.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpu_ops.trainer.evaluate import HeldOut
from gpu_ops.trainer.stream import Vocabulary
from pipeline.config import load_config
from pipeline.progress import Progress
from pipeline.run import RunOptions, run

SAMPLE = Path(__file__).resolve().parents[1] / "configs" / "quickstart" / "sample"
SEED = 11
VOCABULARY = 2048
PROMPT, CONTINUED = 20, 24  # tokens
PASSAGE_WORDS = 30
PASSAGES = 20  # half of them documents of their own, half inside others
DOCUMENT_CHARACTERS = 2000  # of a document that is cut from plain text, at least
UNIQUE_WORDS = 6  # a passage shares no run of so many words with any other document
REPEATED, HOSTS, CLEAN = "repeated", "hosts", "clean"  # the domains: clean documents hold no passage
WHOLE, HIDDEN = "whole", "hidden"  # the kinds of passages
ARMS = {"random": "everything", "fuzzy": "no duplicate documents", "spans": "no repeated passages"}
CONFIG = """\
source: {{path: corpus.parquet, id: id, text: text}}
seed: {seed}
nodes:
  # A planted cluster is a twentieth of its domain or more: too large to be held out.
  holdout: {{op: holdout, by: domain, share: 0.08, largest: 0.04}}
  # The guard against a source that loses nearly all is off: the repeated passages are such a source.
  exact: {{op: exact_dedup, max_drop_share: 1}}
  fuzzy: {{op: minhash_dedup, threshold: 0.8}}
  spans: {{op: substring_dedup, length: 25}}
train:
  input: spans
{recipe}
  tokenizer: tokenizer
  tokens: {tokens}
  seeds: {seeds}
  evals: 1
  eval_bytes: 400_000
  probe: {{passages: passages.parquet, prompt: {prompt}, continuation: {continued}}}
  compare: [random, fuzzy, spans]
"""


SMALL = {"model": {"hidden": 96, "layers": 2, "heads": 4}, "seq_len": 64, "batch_size": 8, "lr": 0.0015}
# A model of 11 M parameters, for a GPU.
FULL = {"model": {"hidden": 384, "layers": 6, "heads": 6}, "seq_len": 256, "batch_size": 32, "lr": 0.001}


@dataclass(frozen=True)
class Passage:
    """A text that is planted: as a document of its own, or `hidden` inside others."""

    text: str
    hidden: bool


def rank(what: str, key: str) -> int:
    """A number that is random over keys and the same on every machine."""
    return int.from_bytes(blake2b(f"{SEED}:{what}:{key}".encode(), digest_size=8).digest(), "big")


def read_texts(files: Sequence[Path]) -> Iterator[str]:
    """The texts of Parquet files; plain text is cut at blank lines into documents of some size."""
    for file in files:
        if file.suffix == ".parquet":
            for batch in pq.ParquetFile(file).iter_batches(columns=["text"]):
                yield from (text for text in batch.column("text").to_pylist() if text)
            continue
        waiting = ""
        for paragraph in file.read_text("utf-8").split("\n\n"):
            waiting += f"{paragraph}\n\n"
            if len(waiting) >= DOCUMENT_CHARACTERS:
                yield waiting
                waiting = ""
        if waiting:
            yield waiting


def word_runs(text: str) -> set[tuple[str, ...]]:
    """All runs of UNIQUE_WORDS words."""
    words = text.split()
    return set(zip(*(words[k:] for k in range(UNIQUE_WORDS)), strict=False))


def split(texts: Iterator[str], num_bytes: int, overlap: float) -> tuple[list[str], list[str]]:
    """Distinct documents of about `num_bytes`, and the rest, both in random order, without those that share
    more than `overlap` of their word runs with the documents before."""
    base: list[str] = []
    rest: list[str] = []
    known: set[tuple[str, ...]] = set()
    for text in sorted(set(texts), key=lambda text: rank("draw", text)):
        runs = word_runs(text)
        if len(runs & known) > overlap * len(runs):
            continue
        known |= runs
        (base if num_bytes > 0 else rest).append(text)
        num_bytes -= len(text.encode())
    return base, rest


def draw(base: Sequence[str], rest: Sequence[str], vocabulary: Vocabulary) -> list[Passage]:
    """The beginnings of documents of the rest that share nothing with the base nor with each other.

    ValueError when there are not PASSAGES of them."""
    known = set().union(*map(word_runs, base))
    passages: list[Passage] = []
    for text in rest:
        passage = " ".join(text.split()[:PASSAGE_WORDS])
        long = len(vocabulary.tokenizer.encode(passage).ids) > PROMPT + CONTINUED
        if long and len(passage) < len(text) / 2 and known.isdisjoint(word_runs(passage)):
            known |= word_runs(text)
            passages.append(Passage(passage, hidden=len(passages) % 2 == 1))
        if len(passages) == PASSAGES:
            return passages
    raise ValueError(
        f"only {len(passages)} of {PASSAGES} passages are left beside {len(base)} documents: give more text, "
        "or less --megabytes"
    )


def plant(passages: Sequence[Passage], base: Sequence[str], repeats: int) -> list[dict[str, str]]:
    """The rows of the corpus: every second document is a host, the others stay clean."""
    rows = [{"domain": CLEAN, "text": text} for text in base[::2]]
    hosts = [[piece] for piece in base[1::2]]
    for number, passage in enumerate(passages):
        if not passage.hidden:
            rows += [{"domain": REPEATED, "text": passage.text}] * repeats
            continue
        for place in range(repeats):
            hosts[(number * 7919 + place) % len(hosts)].append(passage.text)
    rows += [{"domain": HOSTS, "text": insert(pieces[0], pieces[1:])} for pieces in hosts]
    numbered = [{"id": f"{row['domain']}-{k}", **row} for k, row in enumerate(rows)]
    return sorted(numbered, key=lambda row: rank("order", row["id"]))


def insert(text: str, passages: Sequence[str]) -> str:
    """The text with the passages as paragraphs between its lines."""
    lines = text.split("\n")
    for passage in passages:
        lines.insert(1 + rank(passage, text) % len(lines), f"\n{passage}\n")
    return "\n".join(lines)


def train_tokenizer(texts: Sequence[str], folder: Path) -> None:
    """A byte-level BPE of VOCABULARY tokens, as a tokenizer folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"}))


def count_tokens(texts: Sequence[str], folder: Path) -> int:
    """Of these texts by a tokenizer's folder, with the token between documents."""
    vocabulary = Vocabulary.load(str(folder))
    found = vocabulary.tokenizer.encode_batch(texts)
    return sum(len(vocabulary.wrap(np.array(one.ids, np.int32))) for one in found)


def prepare(out: Path, files: Sequence[Path], megabytes: float, repeats: int, overlap: float) -> None:
    """`corpus.parquet`, `tokenizer/` and `passages.parquet` in the folder."""
    out.mkdir(parents=True, exist_ok=True)
    base, rest = split(read_texts(files), int(megabytes * 1e6), overlap)
    train_tokenizer(base, out / "tokenizer")
    passages = draw(base, rest, Vocabulary.load(str(out / "tokenizer")))
    rows = plant(passages, base, repeats)
    pq.write_table(pa.Table.from_pylist(rows), out / "corpus.parquet", compression="zstd")
    pq.write_table(pa.Table.from_pylist(asked(passages)), out / "passages.parquet")


def asked(passages: Sequence[Passage]) -> list[dict[str, str]]:
    """The passages as a model meets them: after the beginning of a document, or after the end of a
    paragraph."""
    return [
        {"text": f"\n\n{passage.text}", "domain": HIDDEN}
        if passage.hidden
        else {"text": passage.text, "domain": WHOLE}
        for passage in passages
    ]


def newest(folder: Path, pattern: str) -> Path:
    """What this run wrote, beside what runs with other settings left."""
    return max(folder.glob(pattern), key=lambda path: path.stat().st_mtime_ns)


def tokens_per_byte(comparison: Path) -> float:
    """Of the clean held-out documents, as they were scored."""
    held = HeldOut.load(str(newest(comparison, "tokens/*.npz")))
    place = held.domains.index(CLEAN)
    return float((held.lengths[held.domain == place] - 1).sum() / held.num_bytes[place])


def spread(values: Sequence[float]) -> str:
    """Mean and standard error; a single value has none."""
    if len(values) < 2:
        return f"{values[0]:7.4f} ± -     "
    return f"{np.mean(values):7.4f} ± {np.std(values, ddof=1) / math.sqrt(len(values)):.4f}"


def _lines(recipe: dict[str, Any]) -> str:
    """As they stand below `train:`."""
    return "\n".join(f"  {key}: {json.dumps(value)}" for key, value in recipe.items())


def study(out: Path, seeds: int, tokens: int, workers: int, full: bool = False) -> dict[str, Any]:
    """Runs the DAG and its training. For each arm, seed by seed: the held-out loss (nats a token of clean
    text), and the shares of both kinds of passages that the model emits."""
    config = out / "memorisation.yaml"
    asking = {"prompt": PROMPT, "continued": CONTINUED, "recipe": _lines(FULL if full else SMALL)}
    config.write_text(CONFIG.format(seed=SEED, seeds=seeds, tokens=tokens, **asking))
    options = RunOptions(workers=workers, device="auto" if full else "cpu")
    data = run(load_config(config), options, Progress(quiet=True))
    comparison = newest(out / ".tamis" / "train", "compare-*/compare.json").parent
    scale = 1 / tokens_per_byte(comparison)
    found: dict[str, Any] = {}
    for arm in ARMS:
        trained = data["train"]["arms"][arm]
        final = trained["final"]
        emitted = {kind: final["memorised"]["domains"][kind]["values"] for kind in (WHOLE, HIDDEN)}
        found[arm] = {
            "loss": [value * scale for value in final["domains"][CLEAN]["values"]],
            **emitted,
            "epochs": float(np.mean(trained["repeats"])),
            "tokens": int(np.mean(trained["corpus_tokens"])),
        }
    return found


def show(found: dict[str, Any]) -> None:
    """The table, then the numbers that the claim is about."""
    print(f"{'trained on':24} {'tokens':>9} {'epochs':>6}  24 tokens regurgitated        held-out loss")
    print(f"{'':42}  as documents    hidden in others   nats a token")
    for arm, label in ARMS.items():
        row = found[arm]
        shares = "  ".join(spread(row[kind]) for kind in (WHOLE, HIDDEN))
        print(f"{label:24} {row['tokens']:9,} {row['epochs']:6.2f}  {shares}  {spread(row['loss'])}")
    raw = found["random"]
    for arm, label in list(ARMS.items())[1:]:
        gains = np.subtract(raw["loss"], found[arm]["loss"]).tolist()
        for kind, name in ((WHOLE, "as documents"), (HIDDEN, "hidden in others")):
            before, after = float(np.mean(raw[kind])), float(np.mean(found[arm][kind]))
            fewer = f"{before / after:.1f} times less" if after else "none is left"
            print(f"{label}: regurgitated of those {name} {before:.3f} -> {after:.3f} ({fewer})")
        print(f"{label}: held-out loss lower by {spread(gains)} nats a token ({len(gains)} seeds, paired)")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("files", type=Path, nargs="*", default=sorted(SAMPLE.glob("*.parquet")))
    parser.add_argument("--megabytes", type=float, default=2.5, help="of text beside the passages")
    parser.add_argument("--repeats", type=int, default=300, help="of each passage")
    parser.add_argument("--overlap", type=float, default=1, help="most of a document's word runs seen before")
    parser.add_argument("--tokens", type=int, default=1_150_000, help="that every model is trained on")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--full", action="store_true", help="a model of 11 M parameters, for a GPU")
    given = parser.parse_args(arguments)
    print((__doc__ or "").splitlines()[0], flush=True)
    prepare(given.out, given.files, given.megabytes, given.repeats, given.overlap)
    found = study(given.out, given.seeds, given.tokens, given.workers, given.full)
    (given.out / "memorisation.json").write_text(json.dumps(found, indent=1))
    show(found)


if __name__ == "__main__":
    main()
