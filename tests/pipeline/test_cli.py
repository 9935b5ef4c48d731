"""The command line: what it imports, exit codes, messages, and the last line."""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import commands
from pipeline.cli import main, parser
from pipeline.errors import ConfigError, DataError, Interrupted, ResourceError

HEAVY = ("numpy", "pyarrow", "pydantic", "numba", "torch", "ray", "rich", "yaml", "jinja2", "fsspec")
CONFIG = "source: {path: '*.parquet', id: id}\nnodes: {exact: {op: exact_dedup}}\nexport: {path: out}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a config over six documents, two of them equal to others."""
    texts = ["one two", "three", "one two", "four", "three", "five"]
    table = pa.table({"id": [f"d{i}" for i in range(6)], "text": texts})
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "c.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from pipeline.cli import main; assert main(['--help']) == 0;"
    code += f"print([module for module in {HEAVY} if module in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "usage: tamis" in done.stdout


def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for name in commands.COMMANDS:
        assert main([name, "--help"]) == 0
        out = capsys.readouterr().out
        assert f"usage: tamis {name}" in out
        assert f"examples:\n  tamis {name}" in out


def test_every_command_of_the_parser_is_there() -> None:
    action = next(a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    assert set(action.choices) == set(commands.COMMANDS)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["rn"],
        ["run"],
        ["run", "c.yaml", "--workers", "0"],
        ["run", "c.yaml", "--device", "tpu"],
        ["run", "c.yaml", "--eng", "ray"],
    ],
)
def test_bad_arguments_give_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert "error: " in capsys.readouterr().err


def raising(error: BaseException) -> Callable[[argparse.Namespace], int]:
    def command(_: argparse.Namespace) -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "message", "last"),
    [
        (ConfigError("c.yaml:3: bad"), 2, "error: c.yaml:3: bad", "next: fix this, then: tamis plan c.yaml"),
        (ConfigError("a\nb"), 2, "error: 2 problems\n  a\n  b\n", "next: fix this, then: tamis plan c.yaml"),
        (DataError("a.parquet"), 3, "error: a.parquet", "next: fix the data"),
        (ResourceError("no disk"), 4, "error: no disk", "resume with: tamis run c.yaml --set 'a=b c'"),
        (Interrupted("stopped"), 4, "error: stopped", "resume with: tamis run c.yaml"),
        (KeyboardInterrupt(), 4, "interrupted", "resume with: tamis run c.yaml"),
        (MemoryError(), 4, "error: MemoryError", "resume with: tamis run c.yaml"),
        (OSError(28, "No space left on device"), 4, "error: OSError: ", "resume with: "),
        (ZeroDivisionError("x"), 1, "error: ZeroDivisionError: x", "next: this should not happen"),
        (OSError(2, "No such file"), 1, "error: FileNotFoundError", "next: this should not happen"),
    ],
)
def test_errors_become_exit_codes(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    message: str,
    last: str,
) -> None:
    monkeypatch.setitem(commands.COMMANDS, "run", raising(error))
    assert main(["run", "c.yaml", "--set", "a=b c"]) == code
    err = capsys.readouterr().err
    assert err.startswith(message)
    assert err.splitlines()[-1].startswith(last)
    assert "Traceback" not in err


def test_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(commands.COMMANDS, "version", raising(ZeroDivisionError("x")))
    assert main(["version", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "version"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("tamis ")


def test_a_bad_config_is_reported_before_anything_runs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "c.yaml", "--set", "nodes.exat.x=1"]) == 2
    err = capsys.readouterr().err.splitlines()
    assert err[0].endswith("reading c.yaml")
    assert err[1] == "error: --set nodes.exat.x=1: no node 'exat'; did you mean 'exact'?; --set adds no nodes"
    assert not (folder / ".tamis").exists()


def test_from_plan_to_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "c.yaml"]) == 0
    out = capsys.readouterr().out
    assert "exact_dedup" in out
    assert re.fullmatch(r"disk: the store has 0 B, \S+ \wB are free", out.splitlines()[-1])

    assert main(["run", "c.yaml", "--workers", "1", "--plain"]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines()[0].endswith("reading c.yaml")
    cells = next(line for line in out.splitlines() if line.startswith("exact ")).split()
    assert cells[:5] == ["exact", "exact_dedup", "6", "4", "66.7"]
    assert "exact_duplicate 2" in out
    assert out.splitlines()[-1].startswith("report: ")

    assert main(["report"]) == 0
    report = Path(capsys.readouterr().out.strip())
    assert report.name == "report.html"
    assert "exact_duplicate" in report.read_text("utf-8")

    assert main(["why", "last", "d2"]) == 0
    assert "exact" in capsys.readouterr().out
    assert main(["why", "--config", "c.yaml", "nosuchrun", "d2"]) == 2


def test_runs_are_looked_up_helpfully(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report"]) == 2
    assert "no run 'last'" in capsys.readouterr().err
    (folder / "d.yaml").write_text(CONFIG)
    assert main(["report"]) == 2
    assert "2 configs in this folder; there are: c.yaml, d.yaml" in capsys.readouterr().err


def test_sigterm_ends_a_run_like_ctrl_c() -> None:
    before = signal.getsignal(signal.SIGTERM)  # Ray's own where the session's cluster has begun
    with commands._interruptions("tamis run"), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_ops_and_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ops"]) == 0
    assert "exact_dedup " in capsys.readouterr().out
    assert main(["ops", "exact_dedup"]) == 0
    assert capsys.readouterr().out.startswith("exact_dedup: ")
    assert main(["ops", "exact_dedpu"]) == 2
    err = capsys.readouterr().err.splitlines()
    assert err == ["error: no operator 'exact_dedpu'; did you mean 'exact_dedup'?", "next: tamis ops --help"]
    assert main(["ops", "--check", "x.py", "--engines", "local,spark"]) == 2
    assert "no engine 'spark'" in capsys.readouterr().err
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "tamis config"
