"""Run data with every section that a report has, and a parser of pages, for the tests of reports."""

from __future__ import annotations

import copy
import math
from html.parser import HTMLParser
from typing import Any

import numpy as np

from gpu_ops.trainer import summary

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Tags in order, their attributes, and the text; fails on tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.pieces: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data
            self.pieces.append(data)

    def names(self) -> list[str]:
        return [tag for tag, _ in self.tags]

    def words(self) -> str:
        return " ".join(" ".join(self.pieces).split())


def node(name: str, inputs: list[str], came: int, left: int, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "op": f"{name}_op", "shape": "MapOp", "fields": {"threshold": 0.8}, "inputs": inputs,
        "uses": [], "face": True, "recipe": None, "description": f"What {name} does.", "rows_in": came,
        "rows_out": left, "dropped": {"too_short": came - left} if came > left else {}, "quarantined": 0,
        "bytes_in": came * 100, "bytes_out": left * 100, "tokens_in": None, "tokens_out": None,
        "seconds": 1.5, "cpu_seconds": 3.0, "computed_rows": left, "cached_rows": came - left,
        "rounds": None, "key": "ab" * 12,
    } | more  # fmt: skip


def trained(arms: dict[str, float], seeds: int = 3) -> dict[str, Any]:
    """A comparison as the trainer makes it; `arms`: how much better than random on python at the end."""
    results: dict[str, list[dict[str, Any]]] = {}
    for name, gain in arms.items():
        for seed in range(seeds):
            points = []
            for tokens in range(0, 1001, 100):
                noise = 0.001 * math.sin(7.0 * seed + tokens + len(name))
                python = 2.0 - tokens / 1000 - gain * tokens / 1000 + noise
                domains = {"python": python, "rust": 2.5 - tokens / 2000 + noise}
                mean = float(np.mean(list(domains.values())))
                points.append({"tokens": tokens, "domains": domains, "macro": mean, "all": mean})
            run = {"arm": name, "seed": seed, "curve": points, "tokens": 1000, "corpus_tokens": 500}
            costs = dict.fromkeys(
                (
                    "parameters",
                    "model_bytes",
                    "flops",
                    "looking_flops",
                    "tokens_per_s",
                    "seconds",
                    "cpu_seconds",
                ),
                1e6,
            )
            costs |= {
                "step_seconds": 0.004,
                "step_seconds_p95": 0.006,
                "mfu": 0.412,
                "kwh": 0.02,
                "kg_co2e": None,
            }
            results.setdefault(name, []).append(
                run
                | costs
                | {"peak_memory_bytes": 10**9, "peak_gpu_bytes": 0, "bytes_by_dtype": {"float32": 10**6}}
            )
    first = next(iter(results.values()))
    return {
        "arms": {name: summary.arm_summary(found) for name, found in results.items()},
        "paired": summary.paired(results),  # type: ignore[arg-type]
        "resources": summary.resources([r for found in results.values() for r in found]),
        "baseline": first[0]["curve"][0],
        "warnings": summary.warnings(results),  # type: ignore[arg-type]
    }


def sample(text: str, kept: str | None = None) -> dict[str, Any]:
    twin = None if kept is None else {"uid": 1, "id": "b", "domain": "rust", "text": kept}
    gone = {"uid": 0, "id": "a", "domain": "rust", "text": text}
    return {
        "node": "fuzzy",
        "reason": "too_short",
        "dropped": gone,
        "kept": twin,
        "evidence": {"similarity": 0.93},
    }


def run_data() -> dict[str, Any]:
    """A run with every section that a report has."""
    parts = [node("fuzzy/sign", ["exact"], 80, 80, face=False, recipe="fuzzy")]
    counts = np.histogram(np.linspace(0, 5, 58) ** 2, 64)
    return {
        "run": "r1", "name": "demo", "config": "nodes:\n  exact: {op: exact_dedup}\n", "seconds": 12.0,
        "kept": 50, "started": "2026-01-02T03:04:05+00:00", "cpu_seconds": 20.0,
        "peak_memory_bytes": 5 * 10**8, "engine": "local", "workers": 2, "version": "1.2", "status": "done",
        "source": {"rows": 100, "bytes": 4000, "files": 1, "shards": 2},
        "nodes": [
            node("exact", [""], 100, 80), *parts, node("fuzzy", ["fuzzy/sign"], 80, 60, recipe="fuzzy"),
            node("loss", ["fuzzy"], 60, 58, dropped={}, quarantined=2, tokens_in=6000, tokens_out=5800),
            node("pick", ["loss", "fuzzy"], 58, 50, tokens_in=5800, tokens_out=5000),
        ],
        "scores": [{
            "column": "loss.loss", "node": "loss", "type": "double", "count": 58, "nulls": 2,
            "min": 0.0, "max": 25.0, "mean": 8.0, "edges": counts[1].tolist(), "counts": counts[0].tolist(),
            "kept": (counts[0] // 2).tolist(),
        }],
        "samples": [sample("one two three", "one four three"), sample("nothing was kept for this")],
        "exports": [{
            "path": "out/x", "format": "parquet", "rows": 50, "bytes": 900, "files": 1, "tokens": None,
            "node": "pick",
        }],
        "groups": {"column": "domain", "in": {"python": 70, "rust": 30}, "out": {"python": 45, "rust": 5}},
        "train": trained({"random": 0.0, "placebo": 0.0, "order": 0.3}),
    }  # fmt: skip


def hostile(value: Any, text: str) -> Any:
    """Run data with the text in every place where a document, a file or a config can put text."""
    data = copy.deepcopy(value)
    data |= {"run": text, "name": text, "config": text, "version": text, "status": text, "sets": [text]}
    for item in data["nodes"]:
        item |= {
            "op": text,
            "shape": text,
            "description": text,
            "fields": {text: text},
            "dropped": {text: 1},
            "key": text,
        }
    data["scores"][0] |= {"column": text}
    data["samples"] = [sample(text)]
    data["samples"][0] |= {"reason": text, "evidence": {text: text}}
    data["samples"][0]["dropped"] |= {"id": text, "domain": text}
    data["exports"][0] |= {"path": text, "format": text}
    data["groups"] = {"column": text, "in": {text: 3}, "out": {text: 3}}
    data["train"]["warnings"] = [text]
    arms = data["train"]["arms"]
    arms[f"x{text}"] = arms.pop("order")
    data["train"]["paired"][f"x{text}"] = data["train"]["paired"].pop("order")
    return data
