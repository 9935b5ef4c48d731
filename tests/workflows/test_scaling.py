"""The study of scaling cuts the text as it says, and finds a law in runs that obey one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.budget.law import Law
from workflows import scaling

TRUTH = {"E": 1.2, "A": 30.0, "B": 60.0, "alpha": 0.4, "beta": 0.42, "R_D": 6.0, "R_N": 4.0}


def texts(count: int) -> list[str]:
    return [" ".join(f"t{i}w{k}" for k in range(120)) for i in range(count)]


def rows(noise: float = 0.0) -> list[dict[str, Any]]:
    """A grid that obeys TRUTH, with the largest run once more under another seed."""
    law, rng = Law("data_constrained", TRUTH), np.random.default_rng(0)
    made: list[dict[str, Any]] = []
    for n in (4e4, 1e5, 2.3e5, 7e5):
        for d in (5e4, 1e5, 2e5, 4e5):
            for r in scaling.REPEATS:
                loss = float(law.losses([n], [d], d / r)[0] * np.exp(noise * rng.normal()))
                made.append({"N": n, "D": d, "U": d / r, "repeats": r, "seed": 0, "loss": loss})
    return [*made, {**made[-3], "seed": 1, "loss": made[-3]["loss"] * 1.01}]


def test_text_is_distinct_and_a_beginning_has_so_many_tokens(tmp_path: Path) -> None:
    near = [f"{text} and more" for text in texts(5)]
    pq.write_table(pa.table({"text": [*texts(400), *texts(10), *near]}), tmp_path / "a.parquet")
    tokens = scaling.prepare(tmp_path, [tmp_path / "a.parquet"], 10_000)
    held, kept = (
        pq.read_table(tmp_path / name / "part-0.parquet")["text"].to_pylist() for name in ("holdout", "text")
    )
    assert len({text.split()[0] for text in (*held, *kept)}) == len(held) + len(kept) == 400
    assert tokens == sum(json.loads((tmp_path / "lengths.json").read_text()))
    part = pq.read_table(scaling.beginning(tmp_path, 5_000) / "part-0.parquet")["text"].to_pylist()
    assert part == kept[: len(part)]
    lengths = json.loads((tmp_path / "lengths.json").read_text())
    assert sum(lengths[: len(part) - 1]) < 5_000 <= sum(lengths[: len(part)])
    with pytest.raises(ValueError, match="1,000,000,000 are needed"):
        scaling.prepare(tmp_path, [tmp_path / "a.parquet"], 10**9)


def test_a_law_in_the_runs_is_found_and_the_placebo_finds_none(capsys: pytest.CaptureFixture[str]) -> None:
    found = scaling.study(rows())
    assert found["fitted"] == 45
    assert max(map(abs, found["miss"])) < 0.005
    assert max(map(abs, found["placebo"])) > 0.05
    assert found["second seed"] == [pytest.approx(0.01)]
    scaling.show(rows(), found)
    assert capsys.readouterr().out.splitlines()[-1].startswith("reproduced: within 0.")


@pytest.mark.slow
def test_the_study_runs(tmp_path: Path) -> None:
    """Too small for the claim; but every run of a cell is what it says."""
    files = sorted(scaling.SAMPLE.glob("*.parquet"))
    scaling.prepare(tmp_path, files, 50_000)
    made = scaling.cell(tmp_path, scaling.SMALL, 0, 0, "cpu", 0)
    assert [round(row["D"] / row["U"]) for row in made] == pytest.approx(scaling.REPEATS, abs=1)
    assert all(1 < row["loss"] < 4 for row in made)
