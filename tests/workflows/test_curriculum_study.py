"""The curriculum study orders the same documents in every arm, and says no more than its seeds allow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.catalog import OpSpec
from workflows import curriculum
from workflows.curriculum import AGAIN, BASE, DEALT, DIFFICULTIES, PACINGS, Search

SEARCH = Search(list(DIFFICULTIES), list(PACINGS), {}, 5, {})


def write_corpus(folder: Path) -> Path:
    texts = [f"document {k} of {domain} " * 20 for domain in ("a", "b", "c") for k in range(30)]
    domains = [domain for domain in ("a", "b", "c") for _ in range(30)]
    folder.mkdir(exist_ok=True)
    table = pa.table({"text": [*texts, texts[0], "x" * 20_000, None], "domain": [*domains, "a", "a", "b"]})
    pq.write_table(table, folder / "corpus.parquet")
    return folder / "corpus.parquet"


def test_documents_are_distinct_short_enough_and_as_many_of_each_domain(tmp_path: Path) -> None:
    file = write_corpus(tmp_path)
    rows = curriculum.read_documents(str(file), 6000)
    assert rows == curriculum.read_documents(str(tmp_path), 6000)
    assert len({row["text"] for row in rows}) == len({row["id"] for row in rows}) == len(rows)
    sizes = {d: sum(len(r["text"]) for r in rows if r["domain"] == d) for d in ("a", "b", "c")}
    assert all(2000 <= size < 2400 for size in sizes.values())
    assert {row["domain"] for row in curriculum.read_documents(f"{file}:a,c", 6000)} == {"a", "c"}
    with pytest.raises(ValueError, match="no documents"):
        curriculum.read_documents(f"{file}:z", 6000)


def test_every_difficulty_is_met_with_every_pacing_and_two_controls() -> None:
    nodes = curriculum.dag(SEARCH)
    arms = {name: node for name, node in nodes.items() if node["op"] == "curriculum"}
    assert len(arms) == len(DIFFICULTIES) * len(PACINGS) + 2
    for node in nodes.values():
        fields = {name: value for name, value in node.items() if name not in ("op", "input")}
        assert OpSpec(node["op"]).build(fields)
    assert arms[DEALT]["difficulty"] == "permuted.value"
    assert arms[AGAIN]["start"] == 1.0


def compared(*gains: list[float]) -> list[Any]:
    """Corpora on which an arm has these gains, and controls none."""
    found = []
    for number, gain in enumerate(gains):
        base = [2.0 + 0.01 * k for k in range(len(gain))]
        tie = [b + 0.01 * (-1) ** k for k, b in enumerate(base)]
        better = [b - g for b, g in zip(base, gain, strict=True)]
        losses = {BASE: base, AGAIN: tie, "length_sort": better, DEALT: tie}
        found.append(curriculum.compared(f"corpus {number}", losses, 1000))
    return found


GAIN = [0.1, 0.11, 0.1, 0.09, 0.1]


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((GAIN, GAIN), "length_sort: reproduced, better on 2 of 2 corpora"),
        ((GAIN,), "length_sort: not reproduced, better on 1 of 1 corpora"),
        ((GAIN, [-g for g in GAIN]), "length_sort: not reproduced, better on 1 of 2 corpora"),
        ((GAIN[:2], GAIN[:2]), "length_sort: not reproduced, better on 0 of 2 corpora (fewer than 5 seeds)"),
    ],
)
def test_reproduced_is_two_errors_on_two_corpora_with_five_seeds(
    gains: tuple[list[float], ...], verdict: str
) -> None:
    lines = curriculum.verdicts(compared(*gains)).splitlines()
    assert lines[0] == verdict
    told = f"better on 0 of {len(gains)} corpora, worse on 0"
    assert lines[1:] == [f"control {name}: {told}" for name in (AGAIN, DEALT)]


def test_the_table_has_the_controls_last() -> None:
    text = curriculum.table(compared(GAIN)[0]).splitlines()
    assert text[0].startswith("corpus 0: 1,000 tokens; shuffled 2.0200")
    assert [line.split()[0] for line in text[1:]] == ["length_sort", AGAIN, DEALT]
    assert "lower by +0.1000 ± 0.0032" in text[1]
    assert text[2].endswith("(control)")


@pytest.mark.slow
def test_the_search_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = str(curriculum.SAMPLE)
    settings = ["--setting", 'short={"seq_len": 32}', "--seeds", "2", "--megabytes", "0.1"]
    curriculum.main([str(tmp_path), corpus, "--difficulty", "length", "--pacing", "sort", *settings])
    found = json.loads((tmp_path / "curriculum.json").read_text())[corpus]
    assert found["loss"].keys() == {BASE, "length_sort", DEALT, AGAIN, "short"}
    assert all(len(values) == 2 for values in found["loss"].values())
    assert "<svg" in (tmp_path / "curriculum.html").read_text()
    assert "control again: better on 0 of 1 corpora" in capsys.readouterr().out


def test_unknown_names_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        curriculum.main([str(tmp_path), "--pacing", "sort,cubic"])
    assert "unknown: cubic; there are sort, linear" in capsys.readouterr().err
