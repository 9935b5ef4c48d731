"""Claim: what a DAG chooses teaches a model more than as many tokens at random, or than no curation.

    python -m workflows.compare CONFIG OUT [--input NODE] [--target DOMAIN ...] [--corpus FILE[:DOMAIN,...]
        ...] [--set KEY=VALUE ...] [--seeds 5] [--tokens N] [--full]

CONFIG is any pipeline of one source with a column `domain`; what its export gets, or NODE leaves, is
`curated`. Every CORPUS (else the config's own source) with every target is a case. For each, a small Llama is
trained from scratch, for the same number of tokens, on

- curated, and the controls: `random` documents of the whole corpus, from which all differences are taken;
  `again`, another random draw, and `raw`, everything in random order until the tokens are spent: both must
  tie with random; `placebo`, the DAG's choice with its scores dealt to other documents, where it has a score;
- `dedup`: what the last deduplication above the choice left; `oracle`: all documents of the target's domain.

Every seed has its own initialisation and its own pool, a random 70 % of the documents, so that the DAG
chooses anew. Held out, with all their near-duplicates, is a share of every domain, on which the loss is
measured; and some documents of the target's domain, which replace the `target` of the config's nodes.

A difference is reproduced if it is more than two standard errors on at least two cases, with five seeds. It
is judged on the target's domain, or on the mean over domains where there is no target; every domain is shown.

Found with configs/recipes/default.yaml (DSIR towards python) on the quickstart's sample and on 5 MB of seven
domains of Debian's documentation, 100,000 tokens, 5 seeds, nats a byte below random: python .119 +- .018 and
.131 +- .030, reproduced, and so against placebo and dedup. The mean over domains did not move (-.020 +- .013,
.027 +- .015): legal texts got worse by .144 +- .016, dictionaries of the second by .289 +- .008, databases of
the first by .050 +- .022, while five of the second's domains gained .029 to .111. The oracle is better than
curated on python, by .113 +- .015 and .106 +- .019, though it saw its documents one to three times, and worse
than random on all others but one. Deduplication alone moved the mean by -.011 +- .011 and .037 +- .012: not
reproduced. Nor are equal parts of every domain (--input mix, no target), on the sample -.010 +- .018: they
gave to dictionaries and rust what they took from legal texts.
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
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import yaml

from pipeline.config import Config, load_config, parse_config
from pipeline.progress import Progress
from pipeline.run import RunOptions, run
from workflows.compare_results import AGAIN, CURATED, DEDUP, ORACLE, PLACEBO, RANDOM, RAW, Case, show, write
from workflows.memorisation import FULL, count_tokens, rank, train_tokenizer

MOST_BYTES = 32_000  # of a document: longer ones are left out, as a few would be the whole budget
MOST_TOKENS = 150_000  # when neither --tokens nor --full is given
POOL_SHARE = 0.7  # of the documents, drawn for every seed
ASIDE_SHARE = 0.2  # of the target's clusters
HOLDOUT = {"op": "holdout", "by": "domain", "share": 0.1}
POOL, ANOTHER, OF_TARGET = "compare_pool", "compare_again", "compare_oracle"
DEDUPLICATES = ("exact_dedup", "minhash_dedup", "substring_dedup", "line_dedup", "semantic_dedup")
EVERYTHING = 10**12
SMALL = {"model": {"hidden": 64, "layers": 4, "heads": 4}, "seq_len": 64, "batch_size": 8, "lr": 0.004}


@dataclass(frozen=True)
class Plan:
    """What is compared, and how. input: the node whose rows are `curated`."""

    config: Config
    input: str
    seeds: int
    tokens: int | None
    megabytes: float
    trainer: dict[str, Any]
    workers: int = 2
    device: str = "cpu"

    def run(self, folder: Path, sections: dict[str, Any]) -> dict[str, Any]:
        """Runs these sections as if they stood beside the config, with a store in the folder."""
        text = yaml.safe_dump({**sections, "store": str(folder / ".tamis")}, sort_keys=False)
        (folder / "compare.yaml").write_text(text)
        config = parse_config(text, self.config.base / "compare.yaml")
        options = RunOptions(workers=self.workers, device=self.device, accept_source=True)
        return run(config, options, Progress(quiet=True))


def read_corpus(corpus: str, num_bytes: float) -> pa.Table:
    """About `num_bytes` of documents of FILE or FOLDER[:DOMAIN,...] at random, duplicates and all, with all
    columns; `id` is made anew."""
    path, _, wanted = corpus.partition(":")
    table = _table(Path(path))
    if missing := [name for name in ("domain", "text") if name not in table.column_names]:
        raise ValueError(f"{path}: no column {missing[0]!r}, which the comparison goes by")
    domain = pc.fill_null(pc.cast(table.column("domain"), pa.string()), "none")
    columns = {name: table.column(name) for name in table.column_names}
    columns |= {"id": pa.array(map(str, range(len(table))), pa.string()), "domain": domain}
    num = pc.fill_null(pc.cast(pc.binary_length(table.column("text")), pa.int64()), 0)
    taken = pc.and_(pc.greater(num, 0), pc.less_equal(num, MOST_BYTES))
    if wanted:
        taken = pc.and_(taken, pc.is_in(domain, pa.array(wanted.split(","))))
    if not pc.any(taken).as_py():
        raise ValueError(f"{corpus}: no documents of at most {MOST_BYTES:,} bytes in these domains")
    table = pa.table(columns).filter(taken)
    ids = table.column("id").to_pylist()
    order = sorted(range(len(ids)), key=lambda place: rank("draw", ids[place]))
    ends = np.cumsum(np.asarray(num.filter(taken))[order])
    return table.take(pa.array(order[: int(np.searchsorted(ends, num_bytes)) + 1], pa.int64()))


def _table(path: Path) -> pa.Table:
    """A Parquet file, or all of a folder in the order of their names."""
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    return ds.dataset([str(file.absolute()) for file in files]).to_table()


def own_source(plan: Plan, folder: Path) -> str:
    """The config's own source as a folder of Parquet."""
    source = plan.config.document.value["source"]
    nodes = {"all": {"op": "undersample", "keep_share": 1.0}}
    export = {"path": str(folder / "source")}
    plan.run(folder, {"source": source, "nodes": nodes, "export": export})
    return str(folder / "source")


def set_aside(plan: Plan, folder: Path, corpus: pa.Table, target: str) -> pa.Table:
    """The corpus without some clusters of near-duplicates of the target's domain; these go to
    `target.parquet`."""
    of_target = pc.equal(corpus.column("domain"), target)
    if not pc.any(of_target).as_py():
        raise ValueError(f"no document is of the domain {target!r}")
    pq.write_table(corpus, folder / "all.parquet", compression="zstd")
    nodes = {"aside": {**HOLDOUT, "share": ASIDE_SHARE, "split_seed": 1}}
    export = {"path": str(folder / "rest")}
    plan.run(folder, {"source": _source(folder / "all.parquet"), "nodes": nodes, "export": export})
    left = pc.is_in(corpus.column("id"), _table(folder / "rest").column("id").combine_chunks())
    gone = pc.and_(of_target, pc.invert(left))
    pq.write_table(corpus.filter(gone), folder / "target.parquet", compression="zstd")
    return corpus.filter(pc.invert(gone))


def _source(file: Path) -> dict[str, str]:
    return {"path": str(file), "id": "id", "text": "text"}


def dag(nodes: dict[str, Any], target: str | None, target_file: str) -> tuple[dict[str, Any], str]:
    """The config's nodes, with a pool that is drawn below the held-out documents and what the arms need; and
    the name of the node that holds out."""
    found = {name: dict(node) for name, node in nodes.items()}
    if taken := {POOL, ANOTHER, OF_TARGET, *(RAW, AGAIN, DEDUP, ORACLE)} & set(found):
        raise ValueError(f"nodes cannot be named {', '.join(sorted(taken))} here")
    reserved = next((name for name, node in found.items() if node["op"] == "holdout"), None)
    if reserved is None:
        reserved = "holdout"
        found = {reserved: {**HOLDOUT, "input": "source"}, **_renamed(found, "source", reserved)}
    pooled: dict[str, Any] = {}
    for name, node in _renamed(found, reserved, POOL).items():
        pooled[name] = node
        if target is not None and "target" in node and node["op"] != "importance":
            node["target"] = target_file
        if name == reserved:
            pooled[POOL] = {"op": "undersample", "input": reserved, "keep_share": POOL_SHARE}
    # Everything is available from the first step on: a shuffled order of its own.
    pooled[ANOTHER] = {"op": "curriculum", "input": POOL, "pacing": "linear", "start": 1.0}
    if target is not None:
        shares = {target: 1, "*": 0}
        pooled[OF_TARGET] = {"op": "domain_mix", "input": POOL, "shares": shares, "keep_rows": EVERYTHING}
    return pooled, reserved


def _renamed(nodes: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    def one(given: Any) -> Any:
        return [new if name == old else name for name in given] if isinstance(given, list) else given

    return {
        name: {**node, "input": new if node["input"] == old else one(node["input"])}
        if "input" in node
        else node
        for name, node in nodes.items()
    }


def above(config: Config, node: str) -> list[str]:
    """The node and those whose rows it gets, the nearest first."""
    names, waiting = [], [node]
    while waiting:
        name = waiting.pop(0)
        if name in {n.name for n in config.nodes} and name not in names:
            names.append(name)
            waiting += config.inputs(name)
    return names


def arms_of(config: Config, input: str, reserved: str, target: str | None) -> dict[str, Any]:
    """The arms beside `input`, as the section `train` has them."""
    nodes = {node.name: node for node in config.nodes}
    upstream = above(config, input)
    arms = {AGAIN: {"input": ANOTHER}, RAW: {"input": POOL}}
    unique = next((n for n in upstream if nodes[n].op in DEDUPLICATES), input)
    if unique != input:
        arms[DEDUP] = {"input": unique}
    if target is not None:
        arms[ORACLE] = {"input": OF_TARGET}
    scored = any("score" in nodes[name].fields for name in upstream)
    return {"compare": [RANDOM, PLACEBO] if scored else [RANDOM], "arms": arms, "holdout": reserved}


def curated_tokens(plan: Plan, folder: Path, sections: dict[str, Any]) -> int:
    """Of what the DAG leaves with the first seed, and the token before each document."""
    export = {"input": plan.input, "path": str(folder / CURATED)}
    plan.run(folder, {**sections, "export": export})
    return count_tokens(_table(folder / CURATED).column("text").to_pylist(), folder / "tokenizer")


def case(plan: Plan, folder: Path, corpus: str | None, target: str | None) -> Case:
    """Prepares one corpus and target, runs the DAG for every seed, trains all arms."""
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.absolute()
    table = read_corpus(corpus or own_source(plan, folder), plan.megabytes * 1e6)
    if target is not None:
        table = set_aside(plan, folder, table, target)
    pq.write_table(table, folder / "corpus.parquet", compression="zstd")
    train_tokenizer(table.column("text").to_pylist(), folder / "tokenizer")
    given = plan.config.document.value
    nodes, reserved = dag(given["nodes"], target, str(folder / "target.parquet"))
    source = _source(folder / "corpus.parquet")
    sections = {"source": source, "seed": given.get("seed", 0), "nodes": nodes}
    tokens = plan.tokens or curated_tokens(plan, folder, sections)
    if plan.tokens is None and plan.trainer is SMALL:
        tokens = min(tokens, MOST_TOKENS)
    config = parse_config(yaml.safe_dump(sections, sort_keys=False), plan.config.base / "compare.yaml")
    arms = arms_of(config, plan.input, reserved, target)
    trainer = {"tokenizer": str(folder / "tokenizer"), "tokens": tokens, "seeds": plan.seeds, "evals": 3}
    trainer |= {"eval_bytes": 150_000, "warmup": 0.05, **plan.trainer}
    data = plan.run(folder, {**sections, "train": {"input": plan.input, **arms, **trainer}})
    trained = data["train"]["arms"]
    name = Path(corpus.partition(":")[0]).stem if corpus else plan.config.file.stem
    return Case(name, target, tokens, {CURATED if n == plan.input else n: arm for n, arm in trained.items()})


def study(plan: Plan, out: Path, corpora: Sequence[str | None], targets: Sequence[str | None]) -> list[Case]:
    """Every corpus with every target, in folders of their own; writes what is known after each."""
    found: list[Case] = []
    for corpus in corpora:
        for target in targets:
            found.append(case(plan, out / f"case-{len(found)}", corpus, target))
            print(show(found[-1]), flush=True)
            raw = [
                {"corpus": c.corpus, "target": c.target, "tokens": c.tokens, "arms": c.arms} for c in found
            ]
            (out / "compare.json").write_text(json.dumps(raw, indent=1))
    return found


def chosen_input(config: Config, given: str | None) -> str:
    """The node that is named, else what is exported or trained on, else the last one."""
    if given is not None:
        return config.node(given).name
    if config.exports and config.exports[0].input:
        return config.exports[0].input
    return config.train.input if config.train is not None else config.nodes[-1].name


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--input", help="the node whose rows are `curated`; else what is exported")
    parser.add_argument("--target", action="append", help="a domain that the model is for")
    parser.add_argument("--corpus", action="append", help="Parquet with the columns domain and text")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in `tamis run`")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tokens", type=int, help=f"else as many as curated has, at most {MOST_TOKENS:,}")
    parser.add_argument("--megabytes", type=float, help="of each corpus: 5, and 200 with --full")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--full", action="store_true", help="a model of 11 M parameters, for a GPU")
    given = parser.parse_args(arguments)
    config = load_config(given.config, given.set)
    if "source" not in config.document.value or not config.nodes:
        parser.error(f"{given.config}: takes a config with one `source` and at least one node")
    print((__doc__ or "").splitlines()[0], flush=True)
    trainer, device = (FULL, "auto") if given.full else (SMALL, "cpu")
    megabytes = given.megabytes or (200 if given.full else 5)
    input = chosen_input(config, given.input)
    plan = Plan(config, input, given.seeds, given.tokens, megabytes, trainer, given.workers, device)
    given.out.mkdir(parents=True, exist_ok=True)
    found = study(plan, given.out, given.corpus or [None], given.target or [None])
    print(write(given.out / "compare.html", given.config.name, found))


if __name__ == "__main__":
    main()
