"""The comparison gives every arm its own documents, and says no more than its seeds allow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.catalog import OpSpec
from pipeline.config import Config, load_config, parse_config
from workflows import compare
from workflows.compare import ANOTHER, OF_TARGET, POOL
from workflows.compare_results import (
    AGAIN,
    CURATED,
    DEDUP,
    ORACLE,
    PLACEBO,
    RANDOM,
    RAW,
    Case,
    show,
    verdicts,
    write,
)

RECIPE = Path(__file__).parents[2] / "configs" / "recipes" / "default.yaml"
SOURCE = {"path": "*.parquet"}
SCORED = {"op": "importance", "score": "target.log_weight", "temperature": 0, "keep_rows": 9}
NODES: dict[str, Any] = {
    "holdout": {"op": "holdout", "by": "domain", "share": 0.1},
    "exact": {"op": "exact_dedup"},
    "fuzzy": {"op": "minhash_dedup"},
    "target": {"op": "dsir", "target": "mine.jsonl"},
    "pick": SCORED,
    "mix": {"op": "domain_mix", "input": "fuzzy", "keep_rows": 9},
    "beside": {"op": "exact_dedup", "input": ["holdout"]},
}


def config_of(nodes: dict[str, Any], **sections: Any) -> Config:
    return parse_config(
        yaml.safe_dump({"source": SOURCE, "nodes": nodes, **sections}, sort_keys=False), Path("x.yaml")
    )


def test_rows_are_a_draw_with_duplicates_of_some_domains(tmp_path: Path) -> None:
    texts = ["the same text of all"] * 50 + [f"document {k} of its own" for k in range(50)]
    domains = ["a", "b", None, "c", "c"] * 20
    more = {"id": ["mine"] * 103, "label": list(range(103))}
    table = pa.table({"text": [*texts, "x" * 40_000, "", None], "domain": [*domains, "a", "a", "a"], **more})
    pq.write_table(table, tmp_path / "corpus.parquet")
    rows = compare.read_corpus(str(tmp_path), 1e9)
    assert rows == compare.read_corpus(str(tmp_path / "corpus.parquet"), 1e9)
    assert rows.column_names == ["text", "domain", "id", "label"]
    assert rows.column("id").to_pylist() == [str(label) for label in rows.column("label").to_pylist()]
    assert sorted(rows.column("text").to_pylist()) == sorted(texts)
    assert set(rows.column("domain").to_pylist()) == {"a", "b", "c", "none"}
    few = compare.read_corpus(f"{tmp_path}:a,c", 300)
    assert few == rows.filter(pc.is_in(rows.column("domain"), pa.array(["a", "c"])))[: len(few)]
    assert 300 <= sum(map(len, few.column("text").to_pylist())) < 350
    with pytest.raises(ValueError, match="no documents of at most 32,000 bytes"):
        compare.read_corpus(f"{tmp_path}:z", 300)
    pq.write_table(table.drop_columns("domain"), tmp_path / "corpus.parquet")
    with pytest.raises(ValueError, match="no column 'domain'"):
        compare.read_corpus(str(tmp_path), 300)


def test_the_pool_is_drawn_below_what_is_held_out() -> None:
    nodes, reserved = compare.dag(NODES, "python", "aside.parquet")
    assert reserved == "holdout"
    assert list(nodes)[:3] == ["holdout", POOL, "exact"]
    assert nodes[POOL]["input"] == "holdout"
    assert nodes["beside"]["input"] == [POOL]
    assert nodes["target"]["target"] == "aside.parquet"
    assert NODES["target"]["target"] == "mine.jsonl"
    for name in (POOL, ANOTHER, OF_TARGET):
        fields = {key: value for key, value in nodes[name].items() if key not in ("op", "input")}
        assert OpSpec(nodes[name]["op"]).build(fields)
    assert compare.above(config_of(nodes), "mix") == ["mix", "fuzzy", "exact", POOL, "holdout"]


def test_without_a_holdout_there_is_one_and_without_a_target_no_oracle() -> None:
    nodes, reserved = compare.dag(
        {
            "exact": NODES["exact"],
            "other": {"op": "exact_dedup", "input": "source"},
            "target": NODES["target"],
        },
        None,
        "aside.parquet",
    )
    assert list(nodes) == [reserved, POOL, "exact", "other", "target", ANOTHER]
    assert nodes["other"]["input"] == POOL
    assert nodes["target"]["target"] == "mine.jsonl"
    assert compare.above(config_of(nodes), "exact") == ["exact", POOL, reserved]


@pytest.mark.parametrize("name", [POOL, "oracle", "raw"])
def test_names_of_arms_are_taken(name: str) -> None:
    with pytest.raises(ValueError, match=f"nodes cannot be named {name} here"):
        compare.dag({name: NODES["exact"]}, None, "")


def test_arms_are_those_that_the_dag_has() -> None:
    nodes, reserved = compare.dag(NODES, "python", "aside.parquet")
    config = config_of(nodes)
    picked = compare.arms_of(config, "pick", reserved, "python")
    assert picked["compare"] == [RANDOM, PLACEBO]
    assert picked["holdout"] == reserved
    inputs = {AGAIN: ANOTHER, RAW: POOL, DEDUP: "fuzzy", ORACLE: OF_TARGET}
    assert {name: arm["input"] for name, arm in picked["arms"].items()} == inputs
    assert compare.arms_of(config, "mix", reserved, None)["compare"] == [RANDOM]
    assert compare.arms_of(config, "fuzzy", reserved, None)["arms"].keys() == {AGAIN, RAW}
    train = {"input": "pick", **picked, "tokens": 1000, "tokenizer": "t", **compare.SMALL}
    assert config_of(nodes, train=train).train is not None


def test_curated_is_what_is_named_or_exported_or_last() -> None:
    assert compare.chosen_input(load_config(RECIPE), None) == "pick"
    assert compare.chosen_input(load_config(RECIPE), "mix") == "mix"
    assert compare.chosen_input(config_of(NODES), None) == "beside"


def point(tokens: int, losses: dict[str, list[float]]) -> dict[str, Any]:
    domains = {name: {"values": values} for name, values in losses.items()}
    macro = [sum(values) / len(values) for values in zip(*losses.values(), strict=True)]
    return {"tokens": tokens, "domains": domains, "macro": {"values": macro}}


def case_of(corpus: str, gains: list[float], target: str | None = "python") -> Case:
    """Curated gains on python what it loses on rust; the controls go up and down."""
    base = [2.0 + 0.01 * k for k in range(len(gains))]
    tie = [loss + 0.01 * (-1) ** k for k, loss in enumerate(base)]
    good, bad = ([b - sign * g for b, g in zip(base, gains, strict=True)] for sign in (1, -1))
    losses = {
        RANDOM: {"python": base, "rust": base},
        CURATED: {"python": good, "rust": bad},
        **{arm: {"python": tie, "rust": tie} for arm in (AGAIN, RAW, PLACEBO)},
    }
    arms = {
        arm: {
            "final": point(9, own),
            "curve": [point(0, own), point(5, own), point(9, own)],
            "repeats": [0.5],
        }
        for arm, own in losses.items()
    }
    return Case(corpus, target, 9, arms)


GAIN = [0.1, 0.11, 0.1, 0.09, 0.1]


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((GAIN, GAIN), "reproduced, better on 2 and worse on 0 of 2"),
        ((GAIN,), "not reproduced, better on 1 and worse on 0 of 1"),
        ((GAIN, [-gain for gain in GAIN]), "not reproduced, better on 1 and worse on 1 of 2"),
        ((GAIN[:2], GAIN[:2]), "not reproduced, better on 0 and worse on 0 of 2"),
    ],
)
def test_reproduced_is_two_errors_on_two_cases_with_five_seeds(
    gains: tuple[list[float], ...], verdict: str
) -> None:
    lines = verdicts([case_of(f"corpus{k}", one) for k, one in enumerate(gains)]).splitlines()
    assert lines[0].startswith(f"curated better than random: {verdict} (python of corpus0 ")
    assert lines[0].endswith("(fewer than 5 seeds)") == (len(gains[0]) < 5)


def test_what_curation_costs_and_the_controls_are_told() -> None:
    lines = verdicts([case_of("a", GAIN), case_of("b", GAIN)]).splitlines()
    told = {line.partition(":")[0]: line.partition(": ")[2] for line in lines}
    cost = "better on 0, worse on 2 of 2, the worst rust of a for python -0.1000 ± 0.0032"
    assert told["elsewhere, curated against random"] == cost
    assert told["mean over domains, curated against random"].startswith("better on 0, worse on 0 of 2")
    for arm in (AGAIN, RAW, PLACEBO):
        assert told[f"control {arm} against random"].startswith("better on 0, worse on 0 of 4")
    assert not any("oracle" in line or "dedup" in line for line in lines)


def test_without_a_target_the_mean_is_judged() -> None:
    one = case_of("a", GAIN, None)
    assert one.judged == "macro"
    assert one.domains == ["macro", "python", "rust"]
    assert "not reproduced, better on 0 and worse on 0 of 1 (macro of a" in verdicts([one]).splitlines()[0]


def test_the_table_and_the_page_have_every_domain(tmp_path: Path) -> None:
    one = case_of("a", GAIN)
    lines = show(one).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["python", "macro", "rust", "epochs"]
    assert "+0.100 ± 0.003+" in lines[2]
    assert "-0.100 ± 0.003-" in lines[4]
    assert write(tmp_path / "page.html", "default.yaml", [one]) == verdicts([one])
    page = (tmp_path / "page.html").read_text()
    assert page.count("<figure") == 3 + 2
    assert "over tokens; line" in page


@pytest.mark.slow
def test_the_comparison_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--set", "nodes.pick.keep_tokens=30_000", "--megabytes", "0.3"]
    compare.main([str(RECIPE), str(tmp_path), "--target", "rust", "--seeds", "2", *few])
    (found,) = json.loads((tmp_path / "compare.json").read_text())
    assert found["arms"].keys() == {RANDOM, CURATED, PLACEBO, AGAIN, RAW, DEDUP, ORACLE}
    folder = tmp_path / "case-0"
    curated = ds.dataset(str(folder / "curated")).to_table(columns=["text"])
    assert sum(len(text.encode()) for text in curated.column("text").to_pylist()) <= 30_000
    target, corpus = (pq.read_table(folder / f"{name}.parquet") for name in ("target", "corpus"))
    assert set(target.column("domain").to_pylist()) == {"rust"}
    assert not set(target.column("id").to_pylist()) & set(corpus.column("id").to_pylist())
    repeats = found["arms"][ORACLE]["repeats"]
    assert len(set(repeats)) == 2  # another pool for another seed
    assert "(fewer than 5 seeds)" in capsys.readouterr().out
    assert "<svg" in (tmp_path / "compare.html").read_text()
