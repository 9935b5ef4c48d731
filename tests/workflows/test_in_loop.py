"""The studies of selection inside the loop, on clouds: what they measure, and that they run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workflows import in_loop, self_paced
from workflows.in_loop import reached
from workflows.selecting import in_loop as shared
from workflows.selecting.statistics import Estimate


def cloud(folder: Path, name: str, rows: int = 160) -> str:
    """A table of two classes and its embeddings."""
    luck = np.random.default_rng(len(name))
    label = luck.integers(0, 2, rows)
    x = luck.normal(size=(rows, 6)) + 2 * label[:, None]
    pq.write_table(
        pa.table({"text": [f"text {i}" for i in range(rows)], "label": label}), folder / f"{name}.parquet"
    )
    np.save(folder / f"{name}.npy", x.astype(np.float32))
    return f"{folder / name}.parquet={folder / name}.npy"


def test_a_cost_is_found_between_evaluations() -> None:
    assert reached([1.0, 2.0, 3.0], [0.9, 0.5, 0.1], 0.3) == pytest.approx(2.5)
    assert reached([1.0, 2.0], [0.2, 0.1], 0.3) == 1.0
    assert reached([1.0, 2.0], [0.9, 0.5], 0.3) == np.inf


def test_labels_are_wrong_as_often_as_asked_and_never_right_by_chance(tmp_path) -> None:
    task = shared.read_task(cloud(tmp_path, "clouds", 2000), tmp_path)
    label, wrong = shared.flipped(task, 0.3, 1)
    assert wrong.mean() == pytest.approx(0.3, abs=0.04)
    assert ((label != task.label) == wrong).all()


def test_folders_hold_other_rows_and_copies(tmp_path) -> None:
    task = shared.read_task(cloud(tmp_path, "clouds"), tmp_path)
    data = shared.prepare(task, 0, tmp_path, pool=50, test=40, noise=0.4, copies=3)
    sizes = {p.stem: pq.read_table(p).num_rows for p in sorted(data.folder.glob("*/*.parquet"))}
    assert sizes == {"clean": 10, "pool": 150, "train": 50, "valid": 10, "test": 40}
    pool, train = (pq.read_table(data.folder / name) for name in ("pool/pool.parquet", "held/train.parquet"))
    assert pool["label"].to_pylist()[::3] == train["label"].to_pylist()
    assert len(data.wrong) == 150
    with pytest.raises(ValueError, match="smaller --pool"):
        shared.prepare(task, 0, tmp_path, pool=100, test=40)


def test_a_claim_needs_two_data_sets_and_no_harm() -> None:
    wins, loses, ties = (Estimate(mean, 0.1, 5) for mean in (1.0, -1.0, 0.1))
    assert shared.verdict([wins, wins, ties]).startswith("reproduced")
    assert shared.verdict([wins, ties]).startswith("not reproduced")
    assert shared.verdict([wins, wins, loses]).startswith("not reproduced")


def test_the_study_of_costs_runs_and_what_is_there_is_not_computed_again(
    tmp_path, monkeypatch, capsys
) -> None:
    text = tmp_path / "texts.parquet"
    stories = [f"Once upon a time dog {i} ran to a tree and saw cat {i % 7}. " * 3 for i in range(60)]
    pq.write_table(pa.table({"text": stories}), text)
    given = [str(tmp_path / "work"), cloud(tmp_path, "clouds"), "--texts", str(text), "--seeds", "2"]
    given += [
        "--pool",
        "60",
        "--test",
        "30",
        "--steps",
        "4",
        "--evals",
        "2",
        "--lm-steps",
        "1",
        "--workers",
        "1",
    ]
    found = in_loop.main(given)
    assert json.loads((tmp_path / "work/in_loop.json").read_text())["verdicts"] == found["verdicts"]
    assert found["classification"]["clouds"]["random"]["speed"] == pytest.approx([1, 1])
    assert set(found["classification"]) == {"clouds", "redundant"}
    printed = capsys.readouterr().out
    assert "not reproduced" in printed
    monkeypatch.setattr(shared.Pool, "run", lambda self, todo, progress: [1 / 0] if todo else [])
    assert in_loop.main(given)["verdicts"] == found["verdicts"]


def test_the_study_of_wrong_labels_runs(tmp_path) -> None:
    given = [str(tmp_path / "work"), cloud(tmp_path, "clouds"), "--seeds", "1", "--noise", "0", "0.4"]
    found = self_paced.main([*given, "--pool", "60", "--test", "30", "--steps", "8", "--workers", "1"])
    assert found["noise 0"]["clouds"]["random"]["wrong share"] == [0.0]
    assert 0.1 < found["noise 0.4"]["clouds"]["random"]["wrong share"][0] < 0.7
    assert self_paced.CHOSEN in found["noise 0.4"]["clouds"]
