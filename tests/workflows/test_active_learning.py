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
from workflows.selecting.task import Columns, load

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
    assert "://" not in page


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
    assert "other labels" not in capsys.readouterr().err
    wrong = {truth[one]: one for one in truth}  # a label -> a row that has it
    corrected = list(csv.DictReader(file.read_text().splitlines()))
    corrected[0]["label"] = next(label for label in wrong if label != corrected[0]["label"])
    with file.open("w", newline="") as sink:
        writer = csv.DictWriter(sink, list(corrected[0]))
        writer.writeheader()
        writer.writerows(corrected)
    assert active_learning.main(call) == 0
    assert f"for 1 rows ({corrected[0]['id']}...)" in capsys.readouterr().err


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


def test_texts_with_odd_line_ends_and_long_ones_come_back(tmp_path: Path) -> None:
    texts = ["a\u2028b\x85c\x0bd", "long " * 40_000, "x"]
    for form in ("csv", "jsonl"):
        file = tmp_path / f"ask-0.{form}"
        write_ask(file, ["1", "2", "3"], texts, [("", 0.0)] * 3)
        assert Ask.read(file).rows == [("1", ""), ("2", ""), ("3", "")]
    file = tmp_path / "ask-0.csv"
    file.write_bytes(b"\xef\xbb\xbflabel,id\r\n yes ,1\r\n,\r\n\r\n")  # as spreadsheets leave them
    assert Ask.read(file).rows == [("1", "yes")]


def test_a_csv_file_keeps_ids_and_labels_as_they_are_written(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text('Nr,body,kind\r\n007,"two ""lines""\nof text",01\r\n07,12,true\r\n1e3,,\r\n', newline="")
    np.save(tmp_path / "rows.npy", np.ones((3, 2)))
    task = load(file, tmp_path, Columns("body", "kind", "Nr", file=tmp_path / "rows.npy"))
    assert task.ids == ["007", "07", "1e3"]
    assert task.names == ["01", "true"]
    assert task.label.tolist() == [0, 1, -1]
    assert task.texts[:2] == ['two "lines"\nof text', "12"]


def test_a_plan_beyond_the_pool_ends_where_the_pool_does(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = arguments(rows, tmp_path / "work", "--seeds", "2", "--batch", "50")
    for _ in range(2):
        assert active_learning.main(call) == 0
        assert "has a label after round 2, so there are no 3 rounds" in capsys.readouterr().out
    curve = list(csv.DictReader((tmp_path / "work" / "curve.csv").read_text().splitlines()))
    assert [int(row["labels"]) for row in curve] == [6, 56, 72] * 4
    assert len({row["accuracy"] for row in curve if row["seed"] == "0" and row["labels"] == "72"}) == 1


def test_the_summary_says_where_arms_have_not_as_many_labels() -> None:
    def row(selector: str, number: int, labels: int) -> dict[str, object]:
        return {"seed": 0, "selector": selector, "round": number, "labels": labels} | dict.fromkeys(
            active_learning.MEASURES, 0.5
        )

    rows = [row("margin", 0, 6), row("random", 0, 6), row("margin", 1, 8), row("random", 1, 9)]
    text = active_learning.summary([*rows, row("margin", 2, 9)], "margin")
    assert "8 (random 9)" in text
    assert text.count("\n") == 3


def test_a_setting_is_a_name_and_a_value(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert active_learning.main(arguments(rows, tmp_path / "work", "--set", "classifier")) == 2
    assert "--set classifier: give NAME=VALUE" in capsys.readouterr().err


def test_a_list_that_changed_is_another_study(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.yaml"
    call = arguments(rows, tmp_path / "work", "--selector", "own", "--list", str(file), "--rounds", "1")
    file.write_text("own: {nodes: {pick: {op: k_center, keep_rows: $k, labelled: known}}}")
    assert active_learning.main([*call, "--seeds", "1"]) == 0
    file.write_text("own: {nodes: {pick: {op: k_center, keep_rows: $k, labelled: known, seed: 9}}}")
    assert active_learning.main([*call, "--seeds", "1"]) == 2
    assert "holds a study with nodes" in capsys.readouterr().err


def test_a_jsonl_file_keeps_dates_as_they_are_written(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"id": "2024-01-01", "text": "a", "n": 1}\n{"id": "2024-01-02", "text": null, "n": 2}\n')
    np.save(tmp_path / "rows.npy", np.ones((2, 2)))
    columns = Columns(label="n", id="id", file=tmp_path / "rows.npy")
    task = load(file, tmp_path, columns)
    assert (task.ids, task.names) == (["2024-01-01", "2024-01-02"], ["1", "2"])
    file.write_text('{"id": "a", "text": "a"}\n{"id": null, "text": "b"}\n')
    with pytest.raises(active_learning.TamisError, match="1 rows have no id"):
        load(file, tmp_path, columns)


def test_people_are_not_asked_where_every_row_has_a_label(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert active_learning.main(arguments(rows, tmp_path / "work", "--oracle", "file")) == 2
    assert "no row is without a label" in capsys.readouterr().err
