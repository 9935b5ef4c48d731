"""The comparison on a tiny task: errors as scipy's, placebos that tie, results that are kept."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier

from pipeline.errors import ConfigError
from workflows import compare_selectors
from workflows.selecting import protocols
from workflows.selecting.branches import Branch, Fragment, deal, fragments, nodes_of
from workflows.selecting.claims import Claim, check, read_claims
from workflows.selecting.heads import macro_f1, voted
from workflows.selecting.results import comparisons
from workflows.selecting.statistics import LOSES, TIES, UNKNOWN, WINS, Estimate, estimate, paired

VALUES = st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 2), min_size=2, max_size=30)


@given(VALUES)
def test_errors_are_those_of_scipy(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    found = estimate(a)
    assert math.isclose(found.mean, a.mean(), abs_tol=1e-12)
    assert math.isclose(found.error, stats.sem(a), abs_tol=1e-12)
    gain = paired(a, b)
    if gain.error > 1e-6:
        assert math.isclose(gain.mean / gain.error, stats.ttest_rel(a, b).statistic, rel_tol=1e-6)


def test_two_standard_errors_decide() -> None:
    assert Estimate(0.021, 0.01, 20).verdict == WINS
    assert Estimate(-0.021, 0.01, 20).verdict == LOSES
    assert Estimate(0.020, 0.01, 20).verdict == TIES
    assert Estimate(0.0, 0.0, 20).verdict == TIES
    assert Estimate(0.5, 0.01, 4).verdict == UNKNOWN
    assert estimate([0.5]).verdict == UNKNOWN


def test_the_votes_and_the_f1_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    x, test, label = rng.normal(size=(60, 5)), rng.normal(size=(40, 5)), rng.integers(0, 4, 60)

    def weights(distance: np.ndarray) -> np.ndarray:
        return np.exp(10 * (1 - distance))

    peer = KNeighborsClassifier(5, metric="cosine", weights=weights).fit(x, label)
    assert np.array_equal(voted(x, label, test, 4), peer.predict(test))
    truth, guess = rng.integers(0, 4, 40), rng.integers(0, 5, 40)
    assert math.isclose(macro_f1(truth, guess, 9), f1_score(truth, guess, average="macro", zero_division=0))


def test_ranks_are_dealt_to_other_rows_alike() -> None:
    key = np.arange(50, dtype=np.uint64)
    free = np.arange(50) % 5 != 0
    rows = np.array([1, 2, 3, 4, 6])
    counts = np.zeros(50)
    for seed in range(2000):
        dealt = deal(rows, free, key, seed)
        assert len(set(dealt.tolist())) == 5
        counts[dealt] += 1
    assert not counts[~free].any()
    assert stats.chisquare(counts[free]).pvalue > 1e-3


def test_names_of_nodes_are_the_branchs_own() -> None:
    body = {"head": {"op": "classifier_head"}, "margin": {"op": "importance", "score": "head.margin"}}

    body["pick"] = {
        "op": "importance",
        "input": ["head", "margin"],
        "score": "margin",
        "keep_rows": {"a": "$10k"},
    }
    made = nodes_of(Branch("b", Fragment("f", body), 7), "source")
    assert made == {
        "b_head": {"op": "classifier_head", "input": "source"},
        "b_margin": {"op": "importance", "input": "b_head", "score": "b_head.margin"},
        "b_pick": {
            "op": "importance",
            "input": ["b_head", "b_margin"],
            "score": "margin",
            "keep_rows": {"a": 70},
        },
    }


def test_the_built_in_list_is_sound_and_mistakes_are_named(tmp_path: Path) -> None:
    known, out = fragments()
    assert {"random", "k_center", "kmeans", "margin"} <= known.keys()
    assert out == {"sensitivity": "give --set classifier=...", "alps": "give --set lm=..."}
    given_ = fragments(given={"classifier": "folder"})[0]["sensitivity"]
    assert given_.nodes["changes"]["model"] == "folder"
    claimed = {claim.selector for claim in read_claims(compare_selectors.CLAIMS)}
    assert claimed <= known.keys() | out.keys()
    with pytest.raises(ConfigError, match="no selector 'margn'; did you mean 'margin'"):
        fragments(wanted=["margn"])
    file = tmp_path / "own.yaml"
    for text, problem in (
        ("own: {nodes: {pick: {op: nothing_such}}}", "no operator 'nothing_such'"),
        ("own: {nodes: {pick: {op: k_center}}, protocol: [cold]}", "no key 'protocol'"),
        ("own: {nodes: {}}", "with at least one node"),
        ("own: {nodes: {pick: {op: k_center}}, protocols: [hot]}", "no protocol 'hot'"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=problem):
            fragments([file])


@pytest.fixture
def task(tmp_path: Path) -> str:
    """A table and its embeddings: two overlapping blobs."""
    rng = np.random.default_rng(5)
    label = rng.integers(0, 2, 160)
    with (tmp_path / "rows.csv").open("w") as sink:
        writer = csv.writer(sink)
        writer.writerows([["text", "label"], *([f"text {i}", f"k{k}"] for i, k in enumerate(label))])
    np.save(tmp_path / "rows.npy", rng.normal(size=(160, 4)) + 1.5 * label[:, None])
    return f"{tmp_path / 'rows.csv'}={tmp_path / 'rows.npy'}"


def test_the_study_runs_keeps_what_it_has_and_placebos_tie(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = ["--budgets", "6", "12", "--warm-budgets", "14", "--start", "6", "--batch", "4", "--test", "40"]
    plan += ["--pool", "80", "--workers", "1", "--draws", "2", "--selectors", "k_center", "margin"]
    call = [str(tmp_path / "work"), task, *plan]
    assert compare_selectors.main([*call, "--seeds", "4"]) == 0
    assert "too few seeds" in capsys.readouterr().out
    runs = 0
    choose = protocols.choose

    def counted(*arguments: object) -> object:
        nonlocal runs
        runs += 1
        return choose(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(protocols, "choose", counted)
    assert compare_selectors.main([*call, "--seeds", "6"]) == 0
    assert runs == 2 * (1 + 1 + 2)  # two more seeds: a cold run, the seed set and two warm rounds
    out = capsys.readouterr().out
    assert "rows: 6 seeds" in out
    assert "claims against random rows" in out
    assert compare_selectors.main([*call, "--seeds", "6"]) == 0
    assert runs == 8
    compared = json.loads((tmp_path / "work" / "results.json").read_text())
    for one in compared:
        for line in one["lines"]:
            gain = line["gain"]
            if line["control"]:
                assert abs(gain["mean"]) <= 4 * gain["error"]
    rows = list(csv.DictReader((tmp_path / "work" / "results.csv").read_text().splitlines()))
    assert {int(row["chosen"]) for row in rows if row["protocol"] == "warm"} == {6, 10, 14}
    assert (tmp_path / "work" / "results.html").read_text().count("<svg") > 6
    assert not list((tmp_path / "work" / "rows").glob("seed-*/"))


def test_claims_are_held_against_each_task() -> None:
    rows = []
    for seed in range(8):
        noise = 0.01 * math.sin(seed)
        for arm, value in (("random", 0.5), ("random_draw1", 0.5), ("margin", 0.6), ("k_center", 0.45)):
            measures = dict.fromkeys(compare_selectors.MEASURES, value + noise * (arm != "random"))
            rows.append({"protocol": "cold", "arm": arm, "labels": 9, "chosen": 9, "seed": seed, **measures})
    compared = comparisons("one", rows, 1)
    assert compared[0].lines[0].relative == pytest.approx(0.2, abs=0.02)
    plain = {"row": 1, "protocol": "cold", "says": "so"}
    claims = [
        Claim(selector="margin", sign="+", least=0.3, **plain),
        Claim(selector="k_center", sign="+", labels=9, **plain),
        Claim(selector="badge", sign="+", **plain),
    ]
    text = check(claims, compared)
    assert "reproduced, but smaller" in text
    assert "the opposite" in text
    assert "badge" not in text


def test_budgets_beyond_the_pool_are_named(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = [str(tmp_path / "work"), task, "--test", "100", "--protocols", "cold", "--budgets", "61"]
    assert compare_selectors.main(call) == 2
    assert "160 labelled rows less 100 held-out ones are 60 to choose 61 from" in capsys.readouterr().err
    assert compare_selectors.main([*call, "--set", "classifier"]) == 2
    assert "--set classifier: give NAME=VALUE" in capsys.readouterr().err


def test_many_branches_in_several_runs_choose_the_same(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = [task, "--test", "40", "--protocols", "cold", "--budgets", "6", "9", "--seeds", "1"]
    plan += ["--draws", "1", "--selectors", "k_center", "--workers", "1"]
    assert compare_selectors.main([str(tmp_path / "one"), *plan]) == 0
    monkeypatch.setattr(protocols, "BRANCHES", 3)
    assert compare_selectors.main([str(tmp_path / "several"), *plan]) == 0
    one, several = ((tmp_path / name / "results.csv").read_bytes() for name in ("one", "several"))
    assert one == several
