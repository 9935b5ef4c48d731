"""Data and files that an operator, a model or the trainer cannot work with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from bad_input.kinds import Kind, config, docs

NAN, INF = float("nan"), float("inf")
_ODD = [INF, NAN, -INF, None, 1.0, 2.0, 3.0, 4.0]
_CLASSES = ["once", *["x", "y"] * 3, "x"]
_VECTORS = [[float(i), 1.0] for i in range(8)]
_TABLE = docs(8, s=_ODD, c=_CLASSES, v=_VECTORS, b=[True, False] * 4)
STORIES = Path(__file__).resolve().parents[2] / "configs/quickstart/stories260K"
_MODEL = {"m/notes.txt": "x"}


def _op(
    what: str, gets: int, says: tuple[str, ...], body: str, table: pa.Table = _TABLE, **more: Any
) -> Kind:
    files = {"a.parquet": table} | more.pop("files", {})
    text = config(
        "{path: a.parquet, id: id}", f"nodes: {{a: {body}}}\n", "export: {path: out, dropped: gone}\n"
    )
    return Kind(more.pop("group", "Operators"), what, gets, says, files, text, **more)  # type: ignore[arg-type]


def _model(what: str, gets: int, says: tuple[str, ...], body: str, **more: Any) -> Kind:
    return _op(what, gets, says, body, group="Models, training", **more)


def _target(content: str) -> dict[str, Any]:
    return {"files": {"t.jsonl": content}}


KINDS = [
    _op("NaN and infinite scores", 0, (), "{op: importance, score: s, keep_rows: 3}", rows={"in": 8, "kept": 3, "no_score": 4, "not_sampled": 1}, then="no score: dropped as `no_score`"),
    _op("only NaN scores", 3, ("no document is left for", "a dropped all 8 it got (no_score 8)", "--allow a"), "{op: importance, score: s, keep_rows: 3}", docs(8, s=[NAN] * 8), by="run"),
    _op("NaN among difficulties", 0, (), "{op: curriculum, difficulty: s}", rows={"in": 8, "kept": 8}, then="they come last"),
    _op("a budget above the data", 0, (), "{op: k_center, embedding: v, keep_rows: 500}", rows={"in": 8, "kept": 8}, then="everything stays"),
    _op("a filter that nothing passes", 3, ("no document is left for", "a dropped all 8 it got (too_short 8)", "--allow a"), "{op: length_filter, min: 10k}", by="run"),
    _op("a score column that is not there", 2, ("c.yaml:2: a/size reads 'loss'; neither the source", "nor a node above it has that column"), "{op: importance, score: loss, keep_rows: 3}"),
    _op("a score that is a text", 2, ("c.yaml:2: a/size reads 'text' as a number", "the source gives large_string"), "{op: importance, score: text, keep_rows: 3}"),
    _op("labels that are floats", 2, ("c.yaml:2: a reads 's' as a string, an integer or a boolean, but the source gives double",), "{op: near_miss, label: s, embedding: v}"),
    _op("labels that are lists", 2, ("c.yaml:2: a reads 'v' as a string, an integer or a boolean",), "{op: tomek_links, label: v, embedding: v}"),
    _op("groups that are floats", 2, ("as a string, an integer or a boolean, but the source gives double",), "{op: undersample, by: s, to: smallest}"),
    _op("a label seen once", 0, (), "{op: undersample, by: c, to: smallest}", rows={"in": 8, "kept": 3, "undersampled": 5}, then="the smallest class, of one row"),
    _op("only null labels", 3, ("no document is left for", "not_comparable 3"), "{op: near_miss, label: c, embedding: v}", docs(3, c=pa.nulls(3, pa.string()), v=_VECTORS[:3]), by="run"),
    _op("a class without a budget", 3, ("have no budget, the first is 'once'", "'*' for all others"), "{op: undersample, by: c, cap: {x: 3, y: 2}}", by="run"),
    _op("a domain without a share", 3, ("values of c have no share, the first is 'once'",), "{op: domain_mix, by: c, shares: {x: 0.5, y: 0.5}, keep_rows: 5}", by="run"),
    _op("a vector that is null or has NaN", 0, (), "{op: k_center, embedding: v, keep_rows: 3}", docs(4, v=[[1.0, NAN], [1.0, 2.0], None, [0.0, 1.0]]), rows={"in": 4, "kept": 2, "not_comparable": 2}, then="`not_comparable`"),
    _op("vectors of different lengths", 3, ("the embedding has 1 numbers at uid 1, but 2 at uid 0",), "{op: k_center, embedding: v, keep_rows: 2}", docs(3, v=[[1.0, 2.0], [1.0], [0.0, 1.0]]), by="run"),
    _op("a target that is not there", 2, ("c.yaml:2: a.target: no such file: {folder}/t.jsonl",), "{op: dsir, target: t.jsonl}"),
    _op("a target without rows", 3, ("the target has no text",), "{op: dsir, target: t.jsonl}", by="run", **_target("")),
    _op("a target of empty texts", 3, ("the target has no text",), "{op: dsir, target: t.jsonl}", by="run", **_target('{"text":""}\n')),
    _op("a target that no document is like", 3, ("no document is left for", "a dropped all 8 it got (not_selected 8)"), "{op: bm25, target: t.jsonl, keep_rows: 3}", by="run", **_target('{"text":"zzz qqq"}\n')),
    _op("evaluation data too short to look for", 3, ("the evaluation data has no n-gram to look for", "min_ngram"), "{op: decontaminate, against: t.jsonl}", by="run", **_target('{"text":"zzz qqq"}\n')),
    _op("a label file that contradicts itself", 3, ("{folder}/l.csv:row 0 to {folder}/l.csv:row 1", "two things of the id 'd1': 'x' in row 0 and 'y' in row 1"), "{op: known_labels, file: l.csv}", by="run", files={"l.csv": "id,label\nd1,x\nd1,y\n"}),
    _op("labels for ids that nobody has", 3, ("1 of 1 labelled ids belong to no row here: 'zz' (row 0)", "`unknown: tell`"), "{op: known_labels, file: l.csv}", by="run", files={"l.csv": "id,label\nzz,x\n"}),
    _op("a formula that is code", 2, ("c.yaml:2: formula", "no function '__import__'"), "{op: formula, expression: '__import__(1)'}"),
    _op("a formula that divides by zero", 0, (), "{op: formula, expression: 's / 0'}", rows={"in": 8, "kept": 8}, then="infinite or null, as floats do"),
    _model("a tokenizer file that is none", 2, ("c.yaml:2: a (token_count): {folder}/t.json: no tokenizer.json",), "{op: token_count, tokenizer: t.json}", files={"t.json": '{"a":1}'}),
    _model("a folder for a tokenizer file", 2, ("c.yaml:2: a (token_count): no tokenizer", "(not its folder)"), "{op: token_count, tokenizer: .}"),
    _model("a model folder that is not there", 2, ("c.yaml:2: a.model: no such model folder: {folder}/nope",), "{op: lm_loss, model: ./nope}"),
    _model("a model folder without a model", 2, ("model folder '{folder}/m' does not load: config.json is missing", "It holds notes.txt"), "{op: lm_loss, model: ./m}", by="run", files=_MODEL),
    _model("a text longer than the model's context; no pad token in the model's config", 0, (), f"{{op: lm_loss, model: {STORIES}, max_tokens: 512}}", table=docs(2, text=["once upon a time " * 2000, "short"]), rows={"in": 2, "kept": 2}, then="scored on its first tokens (`max_tokens`); nothing is padded into a score"),
    _model("a model whose config is broken", 2, ("model folder '{folder}/m' does not load",), "{op: lm_loss, model: ./m}", by="run", files={"m/config.json": "{", "m/tokenizer.json": "{}"}),
]  # fmt: skip
