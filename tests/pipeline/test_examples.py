"""Every example in configs/examples has a plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli import main

EXAMPLES = sorted((Path(__file__).parents[2] / "configs" / "examples").glob("*.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_can_be_planned(example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(example), "--store", str(tmp_path / "store")]) == 0
    assert "to compute:" in capsys.readouterr().out
