"""Pages show hostile texts and run none of them: parsed for every text, and opened in a real browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import CHROMIUM, PAYLOADS, RAW, home, show
from report_data import Page, hostile, run_data
from whole_runs import go, write_config

from pipeline.cli import main
from pipeline.report import render
from workflows.selecting.pages import panel, write_curves
from workflows.selecting.statistics import Estimate

LINKS = ("src", "href", "xlink:href", "srcdoc")
HOME = "http://127.0.0.1:9"
DAG = """
    # {payload}
    source: {{path: in/*, text: text, id: id}}
    nodes:
      mine:  {{op: ./mine.py, title: {title}}}
      fuzzy: {{op: minhash_dedup, threshold: 0.8}}
    export: {{path: out/, format: parquet, columns: [mine.said]}}
"""
MINE = '''
import pyarrow as pa

from operators.contract import DROP, TEXT, MapOp


class Mine(MapOp):
    """{doc}"""

    title: str

    reads = property(lambda self: {{"text": TEXT}})
    adds = property(lambda self: {{"drop": DROP, "said": pa.string()}})

    def columns(self, batch, uses):
        drop = [self.title if i % 3 == 1 else None for i in range(batch.num_rows)]
        said = pa.array(batch.column("text").to_pylist(), pa.string())
        return {{"drop": pa.array(drop, pa.string()).dictionary_encode().cast(DROP), "said": said}}
'''


def escapes(html: str, names: list[str]) -> None:
    """Nothing of the texts is an element, an attribute that does something, or an address."""
    page = Page(html)
    assert page.names() == names
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        links = [
            attributes[name] or "" for name in ("src", "href", "xlink:href", "srcdoc") if name in attributes
        ]
        assert all(link.startswith(("#", "data:,")) for link in links), (tag, links)
        assert not re.search(r"url\((?!#)|expression|@import", attributes.get("style") or ""), (
            tag,
            attributes,
        )


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_report_of_hostile_data_has_the_elements_of_a_harmless_one(name: str) -> None:
    text = PAYLOADS[name].replace("HOME", HOME)
    escapes(render(hostile(run_data(), text)), Page(render(hostile(run_data(), "harmless"))).names())


def hostile_run(folder: Path, text: str) -> str:
    """The report of a run over documents, ids, files, reasons, settings and comments that are this text."""
    folder.mkdir()
    (folder / "in").mkdir()
    text = text.replace("\x00", "")
    name = "".join(c for c in text if c not in "/*?[]\x0c")[:120]
    near = " ".join(f"{text} {i}" for i in range(60))
    texts = [near, f"{text} a", f"{text} b", f"{near} other", f"{text} c", f"{text} d"]
    table = {"id": [f"{text}{i}" for i in range(6)], "text": texts, "domain": [text] * 6}
    pq.write_table(pa.table(table), folder / "in" / f"{name}.parquet")
    (folder / "mine.py").write_text(MINE.format(doc=text.replace('"', "'")))
    comment = text.replace("\x0c", " ").replace("{%", "{ %")
    write_config(folder, DAG.format(payload=comment, title=json.dumps(text)))
    data = go(folder / "c.yaml", store=str(folder / "store"))
    assert any(text in node["dropped"] for node in data["nodes"])
    return Path(data["report"]).read_text("utf-8")


def budget_page(folder: Path, texts: list[str]) -> str:
    """The page of a budget whose pools are called so."""
    folder.mkdir()
    several = [" ".join(texts[i : i + 9]) for i in range(0, len(texts), 9)]
    names = [text.replace("\x00", "").replace("\x0c", "") for text in several]
    asked = {"law": "epoch", "flops": 1e20, "pools": dict.fromkeys(names, 4e9)}
    (folder / "b.yaml").write_text(json.dumps(asked))
    assert main(["budget", "plan", str(folder / "b.yaml"), "--out", str(folder / "plan")]) == 0
    page = (folder / "plan" / "plan.html").read_text("utf-8")
    assert all(name in Page(page).text for name in names)
    return page


def study_page(folder: Path, text: str) -> str:
    """The page of a study whose names are this text."""
    curve = {text: [(10, Estimate(0.5, 0.1, 3)), (20, Estimate(0.6, 0.1, 3))]}
    write_curves(folder / "study.html", text, text, [panel(text, curve, {text: 1})], {text: 1})
    return (folder / "study.html").read_text("utf-8")


def bare(html: str) -> str:
    """The page without its Content-Security-Policy, so that the escaping alone is tried."""
    shown, found = re.subn(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", html)
    assert found == 1
    return shown


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_runs_nothing_of_any_page(tmp_path: Path) -> None:
    with home() as (address, asked):
        texts = {name: text.replace("HOME", address) for name, text in PAYLOADS.items()}
        raw = {f"raw-{name}": f"<p>{text}" for name, text in texts.items() if name in RAW}
        assert "raw-svg.html" in show(raw, tmp_path)
        assert set(asked) >= RAW, "the browser must run what is not escaped, else this test shows nothing"
        asked.clear()
        several = [" ".join([*texts.values()][i : i + 3]) for i in range(0, len(texts), 3)]
        pages = {f"report-{i}": bare(render(hostile(run_data(), text))) for i, text in enumerate(several)}
        everything = " ".join(texts.values())
        pages["run"] = bare(hostile_run(tmp_path / "run", everything[:2000]))
        pages["budget"] = bare(budget_page(tmp_path / "budget", list(texts.values())))
        pages["study"] = bare(study_page(tmp_path, everything))
        shown = show(pages, tmp_path)
        assert all(f"{name}.html" in shown for name in pages)
        assert asked == []


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_policy_stops_what_were_not_escaped(tmp_path: Path) -> None:
    policy = re.search(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", render(run_data()))
    assert policy is not None
    with home() as (address, asked):
        raw = {n: f"{policy[0]}<p>{PAYLOADS[n].replace('HOME', address)}" for n in sorted(RAW)}
        show(raw, tmp_path)
        assert asked == []
