"""The example of a user's own operator: a file outside the package, named by path, on both engines."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from whole_runs import go, nodes_of, read_export

from pipeline.cli import main
from pipeline.engine import Engine
from pipeline.laws import check_file

CONFIGS = Path(__file__).parent.parent.parent / "configs"
SAMPLE = CONFIGS / "quickstart" / "sample"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The example config and its operator in another folder, over the quickstart's sample."""
    shutil.copytree(
        CONFIGS / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns(".tamis", "out")
    )
    (tmp_path / "quickstart").mkdir()
    (tmp_path / "quickstart" / "sample").symlink_to(SAMPLE)
    return tmp_path / "examples" / "own_operator.yaml"


def share_of_capitals(text: str) -> tuple[float, int]:
    letters = [c for c in text if c.isascii() and c.isalpha()]
    return sum(c.isupper() for c in letters) / max(len(letters), 1), len(letters)


def loud(max_share: float, min_letters: int = 20) -> set[str]:
    """The ids of the texts in the sample that shout, by Python's own strings."""
    rows = [
        row for path in sorted(SAMPLE.glob("*.parquet")) for row in pq.ParquetFile(path).read().to_pylist()
    ]
    shares = {row["id"]: share_of_capitals(row["text"]) for row in rows}
    return {name for name, (share, known) in shares.items() if known >= min_letters and share > max_share}


def test_it_drops_the_texts_that_shout(config: Path) -> None:
    data = go(config, ["nodes.exact.on_error=stop"], workers=1)
    gone = loud(0.3)
    assert nodes_of(data)["quiet"]["dropped"] == {"shouting": len(gone)}
    assert 0 < len(gone) < data["source"]["rows"]
    kept = read_export(config.parent / "out")
    assert not gone & {row["id"] for row in kept}
    for row in kept[:50]:
        assert row["quiet.capitals"] == pytest.approx(share_of_capitals(row["text"])[0], abs=1e-15)


@pytest.mark.ray
def test_it_runs_on_ray_too(config: Path, ray_engine: Engine) -> None:
    go(config, workers=1)
    local = read_export(config.parent / "out")
    data = go(config, ["export.path=on_ray"], engine="ray", store=str(config.parent / "another"))
    assert data["engine"] == "ray"
    assert nodes_of(data)["quiet"]["computed_rows"] == data["source"]["rows"]
    assert read_export(config.parent / "on_ray") == local


def test_it_obeys_the_laws(config: Path) -> None:
    results = check_file(str(config.with_name("shout_filter.py")), ["local"])
    assert {law for law, _, _ in results} == {"form", "identity", "rows", "cut", "retry", "columns"}
    assert not [result for result in results if not result[1]]


def test_it_takes_forty_lines(config: Path) -> None:
    text: Any = config.with_name("shout_filter.py").read_text("utf-8")
    assert len(text.splitlines()) <= 40


def test_the_command_says_which_laws_hold(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    operator = config.with_name("shout_filter.py")
    assert main(["ops", "--check", str(operator)]) == 0
    assert "ok    rows: 58 of 60 rows kept, reasons shouting" in capsys.readouterr().out
    operator.write_text(operator.read_text("utf-8").replace('["shouting"]', '[""]'), "utf-8")
    assert main(["ops", "--check", str(operator)]) == 2
    shown = capsys.readouterr()
    assert "FAIL  rows: rows were dropped with the reason ''" in shown.out
    assert "breaks 1 of 6 laws: rows" in shown.err
