"""Every kind of bad input through the command line: its exit code, its message, and the books."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from bad_input import config_kinds, file_kinds, line_kinds, operator_kinds
from bad_input.kinds import GROUPS, Kind, page
from whole_runs import read_export

from pipeline.cli import main

KINDS = [*file_kinds.KINDS, *line_kinds.KINDS, *config_kinds.KINDS, *operator_kinds.KINDS]
ROOT = Path(__file__).resolve().parents[2]


def command(kind: Kind, name: str) -> list[str]:
    sets = [part for change in kind.sets for part in ("--set", change)]
    return [name, "c.yaml", *sets, *(["--workers", "1", "--plain"] if name == "run" else [])]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_bad_input(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    kind.make(tmp_path)
    for name in ("plan", "run"):
        capsys.readouterr()
        code = main(command(kind, name))
        err = capsys.readouterr().err
        assert "Traceback" not in err
        if name == "plan" and kind.by == "run":
            assert code in (0, kind.gets), err
            continue
        assert code == kind.gets, err
        for part in kind.says if code else ():
            assert part.replace("{folder}", str(tmp_path)) in err, err
        if code:
            assert err.splitlines()[-1].startswith("next: "), err
    if kind.gets == 0:
        balanced(kind, tmp_path)


def balanced(kind: Kind, folder: Path) -> None:
    """Every document that came in is exported, or stands among the dropped ones with that reason."""
    kept, gone = read_export(folder / "out"), read_export(folder / "gone")
    reasons: dict[str, Any] = {}
    for row in gone:
        reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
    assert {"in": len(kept) + len(gone), "kept": len(kept), **reasons} == dict(kind.rows)
    found = json.loads(next((folder / ".tamis" / "runs").glob("*/run.json")).read_text())
    assert found["source"]["rows"] == kind.rows["in"]


def test_the_page_is_what_is_tested() -> None:
    written = (ROOT / "BAD_INPUT.md").read_text("utf-8")
    assert written == page(KINDS), "run python tests/bad_input/write_page.py"


def test_the_kinds_are_many_and_differ() -> None:
    assert len({(kind.group, kind.what) for kind in KINDS}) == len(KINDS) >= 150
    assert {kind.group for kind in KINDS} == set(GROUPS)
    for kind in KINDS:
        assert bool(kind.rows) == (kind.gets == 0), kind.what
        assert kind.gets == 0 or any(re.search(r"\w{4}", part) for part in kind.says), kind.what
