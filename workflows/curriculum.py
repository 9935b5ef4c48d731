"""Claim: a model learns more from the same tokens when easy texts come before hard ones.

    python -m workflows.curriculum OUT [CORPUS ...] [--difficulty length,rarity,loss]
        [--pacing sort,competence,linear,step] [--setting 'NAME={"lr": 0.001}']
        [--trainer '{"seq_len": 256}'] [--seeds 5] [--full]

A search over difficulty and pacing (Bengio et al. 2009; Platanios et al. 2019, arXiv 1903.09848). CORPUS is a
Parquet file or folder with the columns text and domain; FILE:domain,domain takes some of its domains, equal
parts of each. From every corpus one DAG holds documents out, scores the difficulty of the others and orders
them, one pass, by every difficulty and pacing; a small Llama is trained from scratch on each order and on a
shuffled one, on the same documents and as many tokens, seed by seed: initialisation and draws are redrawn.

Two controls: another shuffled order against the shuffled one, and the first pacing on the first difficulty
dealt to other documents. A --setting of the trainer is one more arm, shuffled, with these settings instead.

The result is how far the held-out loss, in nats per byte, the mean over domains, lies below that of the
shuffled order. An arm is reproduced if that is more than two standard errors above zero on at least two
corpora, with five seeds.

Found (quickstart's sample, and Debian's cpp, perl, man and shell; 129,000 and 136,000 tokens in one pass, 5
seeds): nothing is reproduced on both. Short before long gains .054 to .094 on the sample, with every pacing,
and -.025 to .022 on the other, none beyond two errors; by loss +.026 to -.031 and +.001 to -.123; by rarity
-.001 to -.069 and -.028 to -.262. The controls are at -.004 and -.017 on the sample, but on Debian's at .045
+- .015 and .031 +- .012: there the shuffled order of these seeds was a bad one, so differences of that size
are noise, whatever their error says. Sequences of 16 growing to 256 tokens over .6 of the tokens: +.004 +-
.010 and +.027 +- .024; 64 and then 256: -.015 +- .019 and +.036 +- .015 (--trainer '{"seq_len": 256,
"batch_size": 2}', --megabytes 0.8): not reproduced either.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import yaml

from pipeline.config import load_config
from pipeline.progress import Progress
from pipeline.run import RunOptions, run
from workflows.memorisation import FULL, SAMPLE, count_tokens, rank, train_tokenizer
from workflows.selecting.pages import forest, write_forests
from workflows.selecting.results import Comparison, Line
from workflows.selecting.statistics import FEWEST, LOSES, WINS, Estimate, estimate, paired

MODEL = SAMPLE.parent / "stories260K"
MOST_BYTES = 16_000  # of a document: longer ones are left out, as one would be most of a step
SEED = 11
CORPORA = 2  # on which a difference must be seen
BASE, AGAIN, DEALT = "shuffled", "again", "dealt"
# What a difficulty needs above it, and its column.
DIFFICULTIES: dict[str, tuple[dict[str, Any], str]] = {
    "length": ({}, "length"),
    "words": ({"lengths": {"op": "lengths"}}, "lengths.words"),
    "rarity": ({"rarity": {"op": "rarity"}}, "rarity.rarity"),
    "loss": ({"loss": {"op": "lm_loss", "model": str(MODEL), "max_tokens": 256}}, "loss.loss_per_byte"),
}
PACINGS: dict[str, dict[str, Any]] = {
    "sort": {"pacing": "sort"},
    "linear": {"pacing": "linear", "start": 0.2},
    "root": {"pacing": "root"},
    "competence": {"pacing": "competence"},
    "step": {"pacing": "step", "steps": 5, "start": 0.2},
    "baby_steps": {"pacing": "baby_steps", "steps": 5},
}
SMALL = {
    "model": {"hidden": 64, "layers": 2, "heads": 4},
    "seq_len": 64,
    "batch_size": 4,
    "lr": 0.004,
}


@dataclass(frozen=True)
class Search:
    """What is tried. settings: name -> settings of the trainer."""

    difficulties: Sequence[str]
    pacings: Sequence[str]
    settings: dict[str, dict[str, Any]]
    seeds: int
    trainer: dict[str, Any]
    workers: int = 2
    device: str = "cpu"


def read_documents(corpus: str, num_bytes: int) -> list[dict[str, str]]:
    """About `num_bytes` of distinct documents, as much of every domain as it has up to an equal part."""
    path, _, wanted = corpus.partition(":")
    files = [str(p) for p in sorted(Path(path).glob("*.parquet"))] or path
    table = ds.dataset(files).to_table(columns=["domain", "text"])
    by_domain: dict[str, set[str]] = {}
    for domain, text in zip(*(table.column(name).to_pylist() for name in ("domain", "text")), strict=True):
        if text and (not wanted or domain in wanted.split(",")) and len(text.encode()) <= MOST_BYTES:
            by_domain.setdefault(domain or "none", set()).add(text)
    if not by_domain:
        raise ValueError(f"{corpus}: no documents of at most {MOST_BYTES:,} bytes in these domains")
    rows: list[dict[str, str]] = []
    for domain, texts in sorted(by_domain.items()):
        left = num_bytes / len(by_domain)
        for text in sorted(texts, key=lambda text: rank("draw", text)):
            if left <= 0:
                break
            left -= len(text.encode())
            rows.append({"id": f"{domain}-{len(rows)}", "domain": domain, "text": text})
    return sorted(rows, key=lambda row: rank("order", row["id"]))


def dag(search: Search) -> dict[str, Any]:
    """The nodes: what is held out, the difficulties, then one order for every arm."""
    nodes: dict[str, Any] = {"holdout": {"op": "holdout", "by": "domain", "share": 0.1, "largest": 0.05}}
    for name in search.difficulties:
        nodes |= DIFFICULTIES[name][0]
    first = search.difficulties[0]
    column = DIFFICULTIES[first][1]
    if column == "length":
        nodes["size"], column = {"op": "size"}, "size.bytes"
    nodes["permuted"] = {"op": "permute", "column": column}
    arms = {
        f"{name}_{pacing}": {"difficulty": DIFFICULTIES[name][1], **PACINGS[pacing]}
        for name in search.difficulties
        for pacing in search.pacings
    }
    arms[DEALT] = {"difficulty": "permuted.value", **PACINGS[search.pacings[0]]}
    arms[AGAIN] = {"pacing": "linear", "start": 1.0}  # everything is available at once: another shuffle
    return nodes | {arm: {"op": "curriculum", "input": "permuted", **f} for arm, f in arms.items()}


def run_dag(out: Path, sections: dict[str, Any], search: Search) -> dict[str, Any]:
    """One run over `corpus.parquet`; runs in the same folder share what they computed."""
    config = out / "curriculum.yaml"
    source = {"path": "corpus.parquet", "id": "id", "text": "text"}
    config.write_text(yaml.safe_dump({"source": source, "seed": SEED, **sections}, sort_keys=False))
    options = RunOptions(workers=search.workers, device=search.device, accept_source=True)
    return run(load_config(config), options, Progress(quiet=True))


def pool_tokens(out: Path, nodes: dict[str, Any], search: Search) -> int:
    """Of what is not held out, with the token before each document: one pass."""
    run_dag(out, {"nodes": nodes, "export": {"path": "pool/", "input": "holdout"}}, search)
    texts = ds.dataset([str(p) for p in (out / "pool").glob("*.parquet")]).to_table(columns=["text"])
    return count_tokens(texts.column("text").to_pylist(), out / "tokenizer")


def losses(out: Path, nodes: dict[str, Any], search: Search, tokens: int) -> dict[str, list[float]]:
    """Held-out loss, arm by arm and seed by seed, nats per byte, the mean over domains."""
    trainer = {"tokenizer": "tokenizer", "tokens": tokens, "seeds": search.seeds, "evals": 1}
    trainer |= {"eval_bytes": 100_000, **search.trainer}
    arms = [name for name, node in nodes.items() if node["op"] == "curriculum"]
    section = {"input": arms[-1], "compare": [BASE, *arms], **trainer}
    found = _trained(out, nodes, section, search)
    for name, setting in search.settings.items():
        # A node without an order is shuffled as the base is: the same texts in the same order.
        section = {"input": "permuted", "compare": [], **trainer, **setting}
        found[name] = _trained(out, nodes, section, search)["permuted"]
    return found


def _trained(
    out: Path, nodes: dict[str, Any], section: dict[str, Any], search: Search
) -> dict[str, list[float]]:
    data = run_dag(out, {"nodes": nodes, "train": section}, search)["train"]
    return {arm: row["final"]["macro"]["values"] for arm, row in data["arms"].items()}


def compared(corpus: str, found: dict[str, list[float]], tokens: int) -> Comparison:
    """Every arm against the shuffled order on the same seeds; a gain is a lower loss."""
    base = found[BASE]
    lines = [
        Line(name, estimate(values), gain, gain.mean / float(np.mean(base)), 0, name in (AGAIN, DEALT))
        for name, values in found.items()
        if name != BASE
        for gain in [paired(base, values)]
    ]
    lines.sort(key=lambda line: (line.control, -line.gain.mean))
    return Comparison(corpus, "one pass", tokens, "nats per byte", estimate(base), lines)


def table(one: Comparison) -> str:
    """All arms of one corpus, the best first, the controls last."""
    head = f"{one.task}: {one.labels:,} tokens; shuffled {one.random.text()} nats per byte, mean over domains"
    rows = [
        f"  {line.name:20} {line.value.text()}  lower by {line.gain.text(signed=True)}  {line.gain.verdict}"
        + ("  (control)" if line.control else "")
        for line in one.lines
    ]
    return "\n".join([head, *rows])


def verdicts(all_of_them: Sequence[Comparison]) -> str:
    """One line an arm: on how many corpora it is better, by the rule of the study."""
    gains: dict[str, list[Estimate]] = {}
    controls: set[str] = set()
    for one in all_of_them:
        for line in one.lines:
            gains.setdefault(line.name, []).append(line.gain)
            controls |= {line.name} if line.control else set()
    told = []
    for name, found in gains.items():
        better = sum(gain.verdict == WINS for gain in found)
        where = f"better on {better} of {len(found)} corpora"
        if name in controls:
            told.append(f"control {name}: {where}, worse on {sum(g.verdict == LOSES for g in found)}")
            continue
        short = "" if min(gain.n for gain in found) >= FEWEST else f" (fewer than {FEWEST} seeds)"
        told.append(f"{name}: {'reproduced' if better >= CORPORA else 'not reproduced'}, {where}{short}")
    return "\n".join(told)


def study(out: Path, corpora: Sequence[str], search: Search, num_bytes: int) -> list[Comparison]:
    """Every corpus in a folder of its own; `curriculum.json` holds the losses seed by seed."""
    found: list[Comparison] = []
    raw: dict[str, Any] = {}
    for number, corpus in enumerate(corpora):
        folder = out / f"corpus-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        rows = read_documents(corpus, num_bytes)
        pq.write_table(pa.Table.from_pylist(rows), folder / "corpus.parquet", compression="zstd")
        train_tokenizer([row["text"] for row in rows], folder / "tokenizer")
        nodes = dag(search)
        tokens = pool_tokens(folder, nodes, search)
        arms = losses(folder, nodes, search, tokens)
        raw[corpus] = {"tokens": tokens, "documents": len(rows), "loss": arms}
        (out / "curriculum.json").write_text(json.dumps(raw, indent=1))
        found.append(compared(Path(corpus).name, arms, tokens))
        print(table(found[-1]), flush=True)
    return found


def _setting(text: str) -> tuple[str, dict[str, Any]]:
    name, _, value = text.partition("=")
    fields = json.loads(value)
    if not isinstance(fields, dict) or name in (BASE, AGAIN, DEALT):
        raise argparse.ArgumentTypeError(f"{text!r}: takes NAME={{...}} with another name than the arms have")
    return name, fields


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("corpora", nargs="*", default=[str(SAMPLE)], metavar="CORPUS")
    parser.add_argument("--difficulty", default="length,rarity,loss", help=", ".join(DIFFICULTIES))
    parser.add_argument("--pacing", default="sort,competence,linear,step", help=", ".join(PACINGS))
    parser.add_argument("--setting", action="append", default=[], type=_setting, metavar="NAME=JSON")
    parser.add_argument(
        "--trainer", default="{}", type=json.loads, metavar="JSON", help="settings of all arms"
    )
    parser.add_argument("--megabytes", type=float, help="of text of each corpus: 0.4, and 50 with --full")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--full", action="store_true", help="a model of 11 M parameters, for a GPU")
    given = parser.parse_args(arguments)
    names = (given.difficulty.split(","), given.pacing.split(","))
    for wanted, known in zip(names, (list(DIFFICULTIES), list(PACINGS)), strict=True):
        if unknown := [name for name in wanted if name not in known]:
            parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    print((__doc__ or "").splitlines()[0], flush=True)
    trainer, device = (FULL, "auto") if given.full else (SMALL, "cpu")
    trainer = {**trainer, **given.trainer}
    search = Search(*names, dict(given.setting), given.seeds, trainer, given.workers, device)
    megabytes = given.megabytes or (50 if given.full else 0.4)
    found = study(given.out, given.corpora, search, int(megabytes * 1e6))
    told = verdicts(found)
    print(told)
    shown = [(f"{one.task}, {one.labels:,} tokens, {one.measure}", forest(one)) for one in found]
    about = (
        "Held-out loss of the shuffled order minus that of each order on the same of "
        f"{given.seeds} seeds; whiskers are 2 standard errors, hollow marks cannot be told from it."
    )
    write_forests(given.out / "curriculum.html", "Orders against a shuffled one", about, shown, told)


if __name__ == "__main__":
    main()
