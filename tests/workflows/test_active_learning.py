"""The loop on a tiny task: killed and started again it gives the same, and people's answers are checked."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workflows import active_learning
from workflows.selecting.asking import Ask, Waiting, answered, write_ask

ROWS = 90


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Three blobs of rows, with embeddings and labels."""
    rng = np.random.default_rng(3)
    label = rng.integers(0, 3, ROWS)
    x = rng.normal(size=(ROWS, 4)) + 2 * np.eye(4)[label]
    columns = {
        "id": [f"r{i}" for i in range(ROWS)],
        "text": [f'text, "{i}"\nof two lines' for i in range(ROWS)],
        "label": [f"kind {k}" for k in label],
        "embedding": pa.array(list(x.astype(np.float32)), pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


def arguments(table: Path, work: Path, *more: str) -> list[str]:
    plan = ["--start", "6", "--batch", "4", "--rounds", "3", "--seeds", "2", "--id", "id"]
    return [str(table), str(work), "--embedding", "embedding", *plan, *more]


def test_a_study_that_was_killed_goes_on_and_gives_the_same(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert active_learning.main(arguments(rows, tmp_path / "whole", "--seeds", "1")) == 0
    whole = (tmp_path / "whole" / "curve.csv").read_bytes()
    table = capsys.readouterr().out
    assert table.count("\n") == 2 + 4 + 2
    curve = list(csv.DictReader(whole.decode().splitlines()))
    assert [int(row["labels"]) for row in curve] == [6, 10, 14, 18] * 2
    keep, kept = active_learning.Loop.keep, 0

    def killed(self: active_learning.Loop, number: int, labels: dict[str, str]) -> None:
        nonlocal kept
        kept += 1
        if kept % 3 == 0:
            raise KeyboardInterrupt
        keep(self, number, labels)

    monkeypatch.setattr(active_learning.Loop, "keep", killed)
    for _ in range(20):
        try:
            active_learning.main(arguments(rows, tmp_path / "killed", "--seeds", "1"))
        except KeyboardInterrupt:
            continue
        break
    assert kept > 8
    assert (tmp_path / "killed" / "curve.csv").read_bytes() == whole
    page = (tmp_path / "killed" / "curve.html").read_text()
    assert page.count("<svg") == 4
    assert "http" not in page


def test_a_folder_holds_one_study(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert active_learning.main(arguments(rows, tmp_path / "work", "--seeds", "1", "--rounds", "0")) == 0
    assert active_learning.main(arguments(rows, tmp_path / "work", "--batch", "9")) == 2
    assert "holds a study with batch = 4, not 9" in capsys.readouterr().err


def test_people_are_asked_round_after_round(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pq.ParquetFile(rows).read()
    truth = dict(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True))
    hidden = [one if i < 20 else None for i, one in enumerate(table["label"].to_pylist())]
    column = table.column_names.index("label")
    pq.write_table(table.set_column(column, "label", pa.array(hidden)), tmp_path / "few.parquet")
    call = arguments(tmp_path / "few.parquet", tmp_path / "work", "--oracle", "file", "--rounds", "2")
    for number in range(3):
        assert active_learning.main(call) == active_learning.WAITING
        file = tmp_path / "work" / "seed-0" / "margin" / f"ask-{number}.csv"
        assert f"fill in the column `label` of {file}" in capsys.readouterr().err
        assert active_learning.main(call) == active_learning.WAITING
        assert "rows of" in capsys.readouterr().err
        with file.open(newline="") as lines:
            asked = list(csv.DictReader(lines))
        assert len(asked) == (6 if number == 0 else 4)
        assert all((row["guess"] in truth.values()) == (number > 0) for row in asked)
        assert all(row["text"] == f'text, "{row["id"][1:]}"\nof two lines' for row in asked)
        with file.open("w", newline="") as sink:
            writer = csv.DictWriter(sink, list(asked[0]))
            writer.writeheader()
            writer.writerows({**row, "label": truth[row["id"]]} for row in asked[::-1])
    assert active_learning.main(call) == 0
    labels = list(csv.DictReader((file.parent / "labels-2.csv").read_text().splitlines()))
    assert len(labels) == 14
    assert all(truth[row["id"]] == row["label"] for row in labels)
    assert not {row["id"] for row in labels} & {f"r{i}" for i in range(20)}  # these are held out


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_answers_are_checked(tmp_path: Path, form: str) -> None:
    file = tmp_path / f"ask-1.{form}"
    ids = ["a", "b,c", "ü"]
    write_ask(file, ids, ["x", None, "y\nz"], [("yes", 0.75), ("no", 0.5), ("", 0.0)])
    ask = Ask.read(file)
    assert ask.rows == [(one, "") for one in ids]
    with pytest.raises(Waiting, match=r"3 of 3 rows of .* have no label yet: a, b,c, ü"):
        answered(ask, ids, [], partial=True)
    good = Ask(file, [("ü", "no"), ("a", "yes"), ("b,c", "")])
    with pytest.raises(Waiting, match=r"1 of 3 rows .*: b,c; fill"):
        answered(good, ids, ["yes", "no"], partial=False)
    assert answered(good, ids, ["yes", "no"], partial=True) == {"ü": "no", "a": "yes"}
    for rows, problem in (
        ([("a", "yes")], "2 rows that were asked are missing: b,c, ü"),
        ([*good.rows, ("a", "no")], "a comes twice"),
        ([*good.rows, ("z", "no")], "1 rows were not asked: z"),
        ([("a", "jes"), ("b,c", "no"), ("ü", "")], "1 unknown labels: 'jes' of a; there are yes, no"),
    ):
        with pytest.raises(active_learning.TamisError, match=problem):
            answered(Ask(file, rows), ids, ["yes", "no"], partial=False)
    file.write_text(
        "\ufeff" + "id,label\na,yes\n" if form == "csv" else '\ufeff{"id": "a", "label": "yes"}\n'
    )
    assert Ask.read(file).rows == [("a", "yes")]
    file.write_text("name,label\na,yes\n" if form == "csv" else json.dumps({"id": "a"}))
    with pytest.raises(active_learning.TamisError, match="id"):
        Ask.read(file)
