"""The commands on a budget: what they print and write, and what they say of bad input."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.budget.law import published
from pipeline.budget.page import drawing
from pipeline.cli import main

RUNS = [
    (n, d, float(published("epoch").losses([n], [d])[0])) for n in (1e7, 1e8, 1e9) for d in (1e9, 3e9, 1e10)
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with nine runs that obey Epoch's law."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{n},{d},{loss!r},{'a' if i % 2 else 'b'}" for i, (n, d, loss) in enumerate(RUNS)]
    (tmp_path / "runs.csv").write_text("\n".join(["N,D,loss,arch", *rows]) + "\n")
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["budget", *argv]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    return main(["budget", *argv]), capsys.readouterr().err


def test_a_law_is_fitted_and_a_plan_made_from_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "fit", "runs.csv", "--bootstrap", "10", "--out", "law.json")
    assert re.search(r"alpha +0\.3478", out)
    assert "wrote law.json" in out
    (folder / "curve.csv").write_text("keep,q\n0.2,1.4\n0.5,1.2\n1,1\n")
    out = said(
        capsys, "plan", "--law", "law.json", "--flops", "1e19", "--pool", "web=2e10:curve.csv", "--pool",
        "wiki=4e9", "--score-params", "1e6", "--out", "plan",
    )  # fmt: skip
    assert re.search(r"web +20\.0 B +0\.\d+", out)
    assert "keeping everything: " in out
    made = json.loads((folder / "plan" / "plan.json").read_text())
    assert made["schema"] == "tamis-plan/1"
    assert made["flops"]["training"] + made["flops"]["scoring"] <= 1e19 * (1 + 1e-9)
    assert len(made["table"]) > 100
    page = (folder / "plan" / "plan.html").read_text()
    assert page.count('<path class="line') == 3
    assert "http" not in re.sub(r"<meta[^>]*>", "", page)
    assert "NaN" not in page


def test_a_plan_comes_from_yaml(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "curve.csv").write_text("keep,q\n0.2,1.4\n0.5,1.2\n1,1\n")
    (folder / "a.yaml").write_text(
        "law: epoch\nflops: 1e20\npools:\n  web: {tokens: 2e10, keep_curve: curve.csv}\n  wiki: 4e9\n"
    )
    by_file = said(capsys, "plan", "a.yaml")
    by_options = said(
        capsys,
        "plan",
        "--law",
        "epoch",
        "--flops",
        "1e20",
        "--pool",
        "web=2e10:curve.csv",
        "--pool",
        "wiki=4e9",
    )
    assert by_file == by_options
    assert said(capsys, "plan", "a.yaml", "--flops", "1e18") != by_file


def test_groups_have_a_law_each(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(
        capsys,
        "fit",
        "runs.csv",
        "--kind",
        "kaplan_n",
        "--group",
        "arch",
        "--bootstrap",
        "5",
        "--out",
        "g.json",
    )
    assert "== arch b" in out
    assert "the groups:" in out
    assert set(json.loads((folder / "g.json").read_text())["groups"]) == {"a", "b"}
    code, error = refused(capsys, "plan", "--law", "g.json", "--flops", "1e19", "--pool", "a=1e9")
    assert code == 2
    assert "a law for each of several groups" in error
    (folder / "one.json").write_text(json.dumps(published("epoch").as_json()))
    for law in ("one.json", "epoch"):
        code, error = refused(
            capsys, "plan", "--law", law, "--group", "a", "--flops", "1e19", "--pool", "a=1e9"
        )
        assert code == 2
        assert "groups; leave out the group 'a'" in error


def test_several_laws_are_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "fit", "runs.csv", "--kind", "chinchilla,kaplan", "--bootstrap", "0")
    assert out.startswith("laws by their error on the largest runs:")
    assert "\nchinchilla: L = E" in out


def test_runs_may_be_parquet_and_json_lines_and_have_flops(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"N": n, "flops": 6 * n * d, "loss": loss, "name": f"r{i}"} for i, (n, d, loss) in enumerate(RUNS)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "a.parquet")
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = [said(capsys, "fit", name, "--bootstrap", "0") for name in ("a.parquet", "a.jsonl")]
    assert out[0] == out[1]
    assert re.search(r"without r\d: alpha", out[0])


def test_what_repeats_are_worth_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "epochs", "--unique", "2e9", "--tokens", "1e10")
    assert "5 epochs" in out
    assert "9.04 B first passes (90.4% of fresh tokens)" in out
    assert "\nmore epochs add at most 23.7 B first passes, however many (R_D* = 15.39)\n" in out


@pytest.mark.parametrize(
    ("table", "code", "text"),
    [
        ("N,D,loss\n1e6,1e9,3\n1e6,1e9,nan\n", 3, "bad.csv: line 3: loss is nan; give a positive number"),
        ("N,D,loss\n1e6,1e9,3\n1e6,-1,3\n", 3, "bad.csv: line 3: D is -1"),
        ("N,D,loss\n1e6,1e9,\n", 3, "bad.csv: the column loss is null, not numbers|line 2: loss is nan"),
        ("N,loss\n1e6,3\n", 3, r"no column flops \(or D\), which this law needs; bad.csv has N, loss"),
        ("N,D,loss\n1e6,1e9,high\n", 3, "the column loss is string, not numbers"),
        ("N,D,loss\n", 3, "bad.csv: has no runs"),
        ("N,D,loss\n1e6,1e9,3\n", 3, "5 parameters to fit and there are 1 runs"),
    ],
)
def test_bad_runs_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str], table: str, code: int, text: str
) -> None:
    (folder / "bad.csv").write_text(table)
    got, error = refused(capsys, "fit", "bad.csv")
    assert got == code
    assert re.search(text, error)


def test_more_unique_tokens_than_tokens_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.csv").write_text("N,D,U,loss\n1e6,1e9,2e9,3\n")
    code, error = refused(capsys, "fit", "bad.csv", "--kind", "data_constrained")
    assert code == 3
    assert "bad.csv: line 2: U 2e+09 is more than D 1e+09" in error


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["fit", "none.csv"], "none.csv: no such file"),
        (["fit", "runs.txt"], "is .parquet, .csv or .jsonl, not .txt"),
        (["fit", "runs.csv", "--kind", "chincilla"], "no law 'chincilla'; did you mean 'chinchilla'"),
        (["fit", "runs.csv", "--group", "archh"], "no such column; did you mean 'arch'"),
        (["fit", "runs.csv", "--drop-outliers", "9"], "there are 9 runs"),
        (["plan", "--flops", "1e20", "--pool", "a=1e9"], "no law; give --law"),
        (["plan", "--law", "epoch", "--pool", "a=1e9"], "no budget; give --flops"),
        (["plan", "--law", "epoch", "--flops", "1e20"], "no pools"),
        (["plan", "--law", "epok", "--flops", "1e20"], "did you mean 'epoch'"),
        (["plan", "--law", "runs.csv", "--flops", "1e20", "--pool", "a=1"], "cannot be read as JSON"),
        (
            ["plan", "--law", "epoch", "--flops", "1e20", "--pool", "a"],
            "'a' is no pool; write it as web=2e11",
        ),
        (["plan", "--law", "epoch", "--flops", "much"], "'much' is not a positive number such as 2e11"),
    ],
)
def test_bad_arguments_say_what_to_do(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: list[str], text: str
) -> None:
    code, error = refused(capsys, *argv)
    assert code == 2
    assert text in error


@pytest.mark.parametrize(
    ("yaml", "text"),
    [
        ("law: epoch\nflop: 1e20\n", "a.yaml:2: unknown key 'flop'; did you mean 'flops'"),
        ("law: epoch\nflops: -1\n", "a.yaml:2: flops is -1; give a positive number"),
        ("law: epoch\nflops: 1\npools: [a]\n", "a.yaml:3: pools is a mapping"),
        ("law: epoch\nflops: 1\npools:\n  a: {token: 1}\n", "a.yaml:4: unknown key 'token'"),
        ("law: epoch\nflops: 1\npools:\n  a: {multiplier: 1}\n", "a.yaml:4: pool 'a' has no tokens"),
        ("- 1\n", "a.yaml:1: a plan is a mapping"),
    ],
)
def test_bad_yaml_is_named_by_its_line(
    folder: Path, capsys: pytest.CaptureFixture[str], yaml: str, text: str
) -> None:
    (folder / "a.yaml").write_text(yaml)
    code, error = refused(capsys, "plan", "a.yaml")
    assert code == 2
    assert text in error


def test_without_scipy_it_says_what_to_install(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    code, error = refused(capsys, "fit", "runs.csv")
    assert code == 2
    assert "pip install 'tamis[learn]'" in error


def test_drawings_stay_inside_their_frame() -> None:
    rows = [(10.0**i, 2 + (i - 3) ** 2 / 20, None, None, str(i)) for i in range(7)]
    made = drawing("t", "a", rows, (1e3, 2.0))
    places = [float(x) for pair in made.path[1:].split("L") for x in pair.split()[:1]]
    assert min(places) == 0
    assert max(places) == pytest.approx(made.width)
    assert 0 <= made.best[1] <= made.height
    assert 3 <= len(made.x_ticks) <= 8
