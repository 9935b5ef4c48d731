"""Every config in examples and recipes has a plan, and those of selection do what they say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq
import pytest

from pipeline.cli import main

CONFIGS = Path(__file__).parents[2] / "configs"
EXAMPLES = sorted(file for folder in ("examples", "recipes") for file in (CONFIGS / folder).glob("*.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_can_be_planned(example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(example), "--store", str(tmp_path / "store")]) == 0
    assert "to compute:" in capsys.readouterr().out


def exported(name: str, folder: Path) -> list[dict[str, Any]]:
    """The rows that a copy of the example exports; the repository stays as it is."""
    files = ran(name, folder).glob("*.jsonl.zst")
    tables = [pa.json.read_json(pa.input_stream(file, compression="zstd")) for file in sorted(files)]
    return [row for table in tables for row in table.to_pylist()]


def ran(name: str, folder: Path) -> Path:
    """The folder to which a copy of the example exports."""
    (folder / "examples").mkdir()
    example = shutil.copy(CONFIGS / "examples" / f"{name}.yaml", folder / "examples")
    (folder / "quickstart").symlink_to(CONFIGS / "quickstart")
    assert main(["run", str(example), "--store", str(folder / "store"), "--plain"]) == 0
    return folder / "examples" / f"out-{name}"


@pytest.mark.slow
def test_importance_weighs_a_sample_below_the_cap(tmp_path: Path) -> None:
    rows = exported("importance", tmp_path)
    assert len(rows) == 144  # 300, without a tenth at either end, of which 0.6
    weight = np.array([row["hard.weight"] for row in rows])
    loss = np.array([row["head.loss"] for row in rows])
    assert len(np.unique(loss)) > 100
    assert (weight >= 1).all()
    assert weight[loss > np.median(loss)].mean() < weight[loss < np.median(loss)].mean()


@pytest.mark.slow
def test_select_chooses_in_every_cluster(tmp_path: Path) -> None:
    rows = exported("select", tmp_path)
    assert len(rows) == 127  # a twentieth of nine tenths
    assert {row["clusters.cluster"] for row in rows} == set(range(8))
    assert sum(row["chosen.weight"] for row in rows) == pytest.approx(2549)
    assert sorted(row["chosen.rank"] for row in rows) == list(range(127))


@pytest.mark.slow
def test_packed_cuts_only_what_is_longer_than_a_sequence(tmp_path: Path) -> None:
    rows = pq.read_table(ran("packed", tmp_path)).to_pylist()
    size: dict[int, int] = {}
    for uid, length in ((u, n) for row in rows for u, n in zip(row["uids"], row["lengths"], strict=True)):
        size[uid] = size.get(uid, 0) + length
    assert len(size) == 2815  # 2,832 without 17 copies
    for row in rows:
        for uid, start, length in zip(row["uids"], row["starts"], row["lengths"], strict=True):
            assert length == min(512, size[uid] - start)
    assert sum(size.values()) > 0.99 * 512 * len(rows)
    quarter = len(rows) // 4
    first, last = (
        max(size[u] for row in some for u in row["uids"]) for some in (rows[:quarter], rows[-quarter:])
    )
    assert first < last


@pytest.mark.slow
def test_difficulty_orders_by_a_formula_of_ranks(tmp_path: Path) -> None:
    rows = exported("difficulty", tmp_path)
    assert len(rows) == 300
    for rank in ("rank_rare.rank", "rank_loss.rank"):
        assert sorted(row[rank] for row in rows) == list(range(300))
    hard = np.array([row["hardness.value"] for row in rows])
    share = [(row["rank_rare.rank"] + 2 * row["rank_loss.rank"] + 1.5) / 900 for row in rows]
    usual = np.array([row["tokens.tokens"] >= 200 for row in rows])
    assert hard[usual] == pytest.approx(np.array(share)[usual], abs=0.03)  # ties have one percentile
    assert (hard[~usual] == 1).all()
    assert hard[:30].mean() < hard[-30:].mean()


@pytest.mark.slow
def test_curriculum_goes_through_buckets_of_difficulty(tmp_path: Path) -> None:
    rows = exported("curriculum", tmp_path)
    loss = np.array([row["surprise.loss_per_byte"] for row in rows])
    assert len(rows) == 400
    bucket = np.array([row["buckets.order"] * 5 // 2**64 for row in rows])
    found = [loss[bucket == k] for k in range(5)]
    assert all(70 < len(one) < 90 for one in found)
    assert all(max(found[k]) < min(found[k + 1]) for k in range(4))
    assert all((np.diff(one) < 0).mean() > 0.3 for one in found)  # shuffled within


@pytest.mark.slow
def test_arms_train_alike_but_for_their_own_settings(tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    example = shutil.copy(CONFIGS / "examples" / "arms.yaml", tmp_path / "examples")
    (tmp_path / "quickstart").symlink_to(CONFIGS / "quickstart")
    sets = ["train.tokens=16k", "train.seeds=1", "train.evals=1"]
    assert main(["run", str(example), "--plain", *(part for text in sets for part in ("--set", text))]) == 0
    (table,) = (tmp_path / "examples/.tamis/train").glob("compare-*/compare.json")
    arms = json.loads(table.read_text())["arms"]
    assert set(arms) == {"random", "fuzzy", "warmup", "packed", "selective"}
    assert all(arm["final"]["tokens"] == pytest.approx(16_000, rel=0.05) for arm in arms.values())
    results = {arm: json.loads((table.parent / f"{arm}-0" / "result.json").read_text()) for arm in arms}
    assert results["selective"]["looking_flops"] > results["selective"]["flops"] / 3
    assert results["fuzzy"]["looking_flops"] == 0
