"""The report: what it says, that no text becomes markup, and that gaps in the data are survived."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpu_ops.trainer import summary
from pipeline.report import clean, render, write_report

VOID = {"meta", "link", "img", "br", "hr", "input"}
HOSTILE = "</pre></style><script>alert(1)</script><img src=x onerror=alert(1)>\" onload='x' {{ 7 * 7 }} &amp;"


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


@pytest.fixture
def run() -> dict[str, Any]:
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


def test_says_what_was_measured(run: dict[str, Any]) -> None:
    words = Page(render(run)).words()
    for said in (
        "100 → 50", "10.0 kB → 5.00 kB", "6.00 k → 5.00 k", "12.0 s", "500 MB",  # the tiles
        "order beats random by 0.150", "The placebo (the same scores, dealt to other rows) ties with random",
        "−20 too_short", "−2 quarantined", "from loss and fuzzy", "1 inner part",  # the funnel
        "58 rows with a value; 0 to 25, mean 8; 2 null, infinite or NaN",
        "similarity 0.93", "70.0 % 90.0 % 70 45 64.3 %", "exact: {op: exact_dedup}",
        "float32 1.00 MB", "0.004 s", "41.2 %", "kWh",  # what training took
        "repeated 2.00 times", "Passes over its documents 2.00 2.00 2.00",
    ):  # fmt: skip
        assert said in words, said


def test_marks_the_words_that_differ(run: dict[str, Any]) -> None:
    html = render(run)
    assert "one <mark>two</mark> three" in html
    assert "one <mark>four</mark> three" in html


def test_draws_a_panel_for_every_domain_and_mean(run: dict[str, Any]) -> None:
    labels = [a.get("aria-label") or "" for tag, a in Page(render(run)).tags if tag == "svg"]
    curves = [label for label in labels if label.startswith("Loss in nats per byte")]
    assert [c.partition(" on ")[2].partition(";")[0] for c in curves] == [
        "Mean over domains", "All held-out text", "python", "rust",
    ]  # fmt: skip
    assert all("random" in c and "order" in c for c in curves)
    assert any(label.startswith("Histogram of loss.loss") for label in labels)


def test_needs_nothing_else(run: dict[str, Any]) -> None:
    html = render(run)
    page = Page(html)
    assert "script" not in page.names()
    assert any("default-src 'none'" in (a.get("content") or "") for tag, a in page.tags if tag == "meta")
    links = [a[n] or "" for _, a in page.tags for n in ("src", "href", "xlink:href") if n in a]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not re.search(r"@import|url\((?!#)|https?://", html)


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


def test_no_text_becomes_markup(run: dict[str, Any]) -> None:
    plain, attacked = Page(render(hostile(run, "harmless"))), Page(render(hostile(run, HOSTILE)))
    assert attacked.names() == plain.names()
    assert [sorted(a) for _, a in attacked.tags] == [sorted(a) for _, a in plain.tags]
    assert attacked.text.count("<script>alert(1)</script>") > 10
    assert "{{ 7 * 7 }}" in attacked.text


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(), min_size=1, max_size=40).filter(str.strip))
def test_any_text_is_shown_and_harmless(run: dict[str, Any], text: str) -> None:
    run = run | {"samples": [sample(text)], "name": text}
    page = Page(render(run))
    assert page.names() == Page(render(run | {"samples": [sample("x")], "name": "x"})).names()
    assert clean(text) in page.text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b\x1b[31m", "a␀b␛[31m"),
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("a\ud800b", "a\ufffdb"),
        ("a\r\nb\tc", "a\nb\tc"),
    ],
)
def test_control_characters_are_shown(text: str, shown: str) -> None:
    assert clean({text: [text]}) == {shown: [shown]}
    clean(text).encode()


def test_huge_documents_are_cut(run: dict[str, Any]) -> None:
    run["samples"] = [sample("word " * 200_000, "! " * 200_000), sample("! " * 600, "? ! " * 300)] * 3
    run["train"] = None
    html = render(run)
    assert len(html) < 200_000
    assert "differences not marked" in html


def test_many_samples_are_folded_and_counted(run: dict[str, Any]) -> None:
    words = Page(render(run | {"samples": [sample("gone")] * 20})).words()
    assert "6 samples, 14 more in the run data" in words
    assert "4 more" in words


def gaps(run: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "nothing", {}
    for key in run:
        yield f"no {key}", {k: v for k, v in run.items() if k != key}
        yield f"null {key}", run | {key: None}
    yield "no rows", run | {
        "source": {"rows": 0, "bytes": 0, "files": 0, "shards": 0}, "nodes": [node("exact", [], 0, 0)],
        "scores": [{"column": "a", "count": 0, "nulls": 0, "min": None, "max": None, "mean": None,
                    "edges": [0.0] * 65, "counts": [0] * 64, "kept": [0] * 64}],
        "groups": {"column": "domain", "in": {}, "out": {}},
    }  # fmt: skip
    yield "one seed", run | {"train": trained({"random": 0.0, "order": 0.1}, seeds=1)}
    yield "no random", run | {"train": trained({"order": 0.1})}


def test_gaps_in_the_data_are_survived(run: dict[str, Any]) -> None:
    pages = {name: Page(render(data)).words() for name, data in gaps(run)}
    assert "Nothing was trained" in pages["null train"]
    assert "No step ran." in pages["nothing"]
    assert "too few seeds" in pages["one seed"]
    assert "training says nothing about the selection" in pages["no random"]
    assert all("nan" not in words.lower().replace("infinite or nan", "") for words in pages.values())


def test_dozens_of_nodes_and_hundreds_of_groups(run: dict[str, Any]) -> None:
    chain = [
        node(f"n{i}", [f"n{i - 1}" if i else "", *([f"n{i - 7}"] if i > 7 else [])], 90, 80)
        for i in range(60)
    ]
    groups = {"column": "host", "in": {f"h{i}": 400 - i for i in range(300)}, "out": {"h0": 7}}
    page = Page(render(run | {"nodes": chain, "groups": groups}))
    assert sum(a.get("class") == "rail" for tag, a in page.tags if tag == "svg") == 62
    assert "287 smaller groups" in page.words()


def test_rows_outside_the_counted_groups_are_told(run: dict[str, Any]) -> None:
    run["groups"]["in"] = {"python": 60, "rust": 30}
    assert "(others)" in Page(render(run)).text


def test_survives_json(run: dict[str, Any]) -> None:
    assert render(json.loads(json.dumps(run))) == render(run)


def test_writes_a_file_whole_or_not_at_all(run: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_report(run | {"name": "ünïcode \ud83d"}, path)
    assert "ünïcode \ufffd" in path.read_text(encoding="utf-8")
    with pytest.raises(AttributeError):
        write_report({"nodes": [3]}, path)
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    assert "ünïcode" in path.read_text(encoding="utf-8")
