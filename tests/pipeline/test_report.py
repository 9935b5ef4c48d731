"""The report: what it says, that no text becomes markup, and that gaps in the data are survived."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_data import Page, hostile, node, run_data, sample, trained

from pipeline.report import clean, render, write_report

HOSTILE = "</pre></style><script>alert(1)</script><img src=x onerror=alert(1)>\" onload='x' {{ 7 * 7 }} &amp;"


@pytest.fixture
def run() -> dict[str, Any]:
    return run_data()


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
