"""No credential reaches a stream, a log or the run data; with `redact` no document does either."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from whole_runs import documents, go, write_config, write_cut

from pipeline import redact
from pipeline.cli import main
from pipeline.redact import without_secrets

SECRET = "s3cr3t-Value/with+slash"
MASKED = [
    f"s3://AKIA123:{SECRET}@bucket/key",
    f"https://user:{SECRET}@host:8080/a?b=c",
    f"see https://{SECRET.replace('/', '')}@host/x, then",
    f"https://host/a?token={SECRET}&x=1",
    f"https://host/a?x=1&X-Amz-Signature={SECRET}",
    f"https://host/a?sv=1&sig={SECRET}",
    f"https://host/a?api_key={SECRET}",
    f"Authorization: Bearer {SECRET}",
    f"aws_secret_access_key = '{SECRET}'",
    f'{{"password": "{SECRET}"}}',
    f"simplecache::s3://k:{SECRET}@b/c",
]
PLAIN = [
    "file:///tmp/.tamis/nodes/ab/3@17/x.arrow",
    "https://host:8080/a@b/c?page=3",
    "s3://bucket/folder/part@3.parquet",
    "holdout/signature: starting, 2,832 rows",
    "tokens: 150k, key: fuzzy, sort_key=length",
    "/data/user:group@place/file",
    "tokenizer: ./stories260K; max_tokens=256",
]


@pytest.mark.parametrize("text", MASKED)
def test_credentials_go(text: str) -> None:
    shown = without_secrets(text)
    assert SECRET not in shown
    assert SECRET.replace("/", "") not in shown
    assert "with+slash" not in shown
    assert "***" in shown
    assert without_secrets(shown) == shown


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_credential_stays(text: str) -> None:
    assert without_secrets(text) == text


@given(st.text())
def test_any_text_is_taken_and_masking_twice_changes_nothing(text: str) -> None:
    once = without_secrets(text)
    assert without_secrets(once) == once


def test_values_of_secret_variables_go(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "MY_API_TOKEN": "abcdefgh1234", "DB_PASSWORD": "hunter2hunter2", "PWD": "/tmp/somewhere",
        "TOKENIZERS_PARALLELISM": "false-or-true", "MAX_TOKENS": "1000000000", "OTHER": "plain-text-value",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    redact._of_environment.cache_clear()
    shown = without_secrets(
        "abcdefgh1234 hunter2hunter2 /tmp/somewhere false-or-true 1000000000 plain-text-value"
    )
    monkeypatch.undo()
    redact._of_environment.cache_clear()
    assert shown == "*** *** /tmp/somewhere false-or-true 1000000000 plain-text-value"


NEAR = [f"confidential{i}" for i in range(60)]
SECRETS = [
    " ".join(NEAR),
    " ".join([*NEAR[:-1], "other"]),
    "short confidential0",
    "six confidential1 a b c d",
]
DAG = """
    source: {path: in, text: text, id: id}
    nodes:
      fuzzy: {op: minhash_dedup, threshold: 0.8}
      mine:  {op: ./mine.py}
      long:  {op: length_filter, unit: words, min: 5}
    export: {path: out/}
"""
MINE = '''
import os

from operators.contract import TEXT, MapOp


class Mine(MapOp):
    """Quotes a document when it fails."""

    reads = property(lambda self: {"text": TEXT})
    adds = property(lambda self: {})

    def columns(self, batch, uses):
        if "FAIL" in os.environ:
            raise ValueError(f"cannot parse {batch.column('text')[0].as_py()!r}")
        return {}
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_cut(tmp_path / "in", documents(SECRETS), files=1)
    (tmp_path / "mine.py").write_text(MINE)
    write_config(tmp_path, DAG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(folder: Path) -> dict[str, str]:
    """Everything that the folders of runs say."""
    files = [path for path in (folder / ".tamis/runs").rglob("*") if path.is_file()]
    return {path.name: path.read_text() for path in files}


@pytest.mark.parametrize("how", ["--redact", "config"])
def test_a_redacted_run_shows_no_document(folder: Path, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    if how == "config":
        write_config(folder, DAG + "    redact: true\n")
    assert main(["run", "c.yaml", *([how] if how == "--redact" else [])]) == 0
    assert main(["why", "last", "doc-1"]) == 0
    assert main(["report", "last"]) == 0
    streams = capsys.readouterr()
    said = shown(folder) | {"out": streams.out, "err": streams.err}
    for name, text in said.items():
        assert "confidential" not in text, name
        assert "doc-" not in text, name
    run = json.loads(said["run.json"])
    assert {sample["dropped"]["text"] for sample in run["samples"]} == {
        f"(redacted: {len(SECRETS[1])} characters)", "(redacted: 19 characters)"
    }  # fmt: skip
    assert "(redacted: " in said["report.html"]
    assert "DROPPED, near_duplicate" in said["out"]
    assert '"similarity": 0.9' in said["out"]


def test_without_it_they_are_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    go(folder / "c.yaml")
    assert "confidential" in shown(folder)["report.html"]
    assert main(["report", "last", "--redact"]) == 0
    assert "confidential" not in shown(folder)["report.html"]
    assert main(["why", "last", "doc-1", "--redact"]) == 0
    assert "confidential" not in capsys.readouterr().out


@pytest.mark.parametrize("sets", [[], ["nodes.fuzzy.max_drop_share=0.1"]])
def test_errors_of_a_redacted_run_quote_no_document(
    folder: Path, sets: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not sets:
        monkeypatch.setenv("FAIL", "1")
    arguments = [part for change in sets for part in ("--set", change)]
    assert main(["run", "c.yaml", "--redact", "--log-format", "json", *arguments]) == 3
    streams = capsys.readouterr()
    assert main(["status", "--json"]) == 3
    said = shown(folder) | {"out": streams.out, "err": streams.err, "status": capsys.readouterr().out}
    for name, text in said.items():
        assert "confidential" not in text, name
    where = "fuzzy would drop more than 0.1" if sets else "part-000.parquet:row 0: ValueError"
    assert where in said["err"]
    assert "redacted" in said["error.log"]


def test_credentials_in_a_config_are_nowhere(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = f"# from s3://AKIA1:{SECRET}@bucket/in\n"
    (folder / "c.yaml").write_text(secret + (folder / "c.yaml").read_text())
    assert main(["plan", "c.yaml", "--store", f"memory://u:{SECRET}@place"]) == 0
    assert main(["run", "c.yaml", "--store", f"memory://u:{SECRET}@place"]) == 0
    assert main(["run", "c.yaml"]) == 0
    assert main(["why", "last", "doc-0"]) == 0
    monkeypatch.setenv("FAIL", "1")
    assert main(["run", "c.yaml", "--debug", "--set", f"nodes.mine.op=./mine.py?token={SECRET}"]) == 2
    assert main(["status"]) == 0
    streams = capsys.readouterr()
    for name, text in (shown(folder) | {"out": streams.out, "err": streams.err}).items():
        assert SECRET not in text, name
        assert "with+slash" not in text, name
    assert "s3://***@bucket/in" in shown(folder)["run.json"]


def test_a_run_whose_config_holds_a_credential_can_still_be_asked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "c.yaml").write_text(f"# s3://AKIA1:{SECRET}@b\n" + (folder / "c.yaml").read_text())
    go(folder / "c.yaml")
    (folder / "c.yaml").write_text((folder / "c.yaml").read_text().replace("min: 5", "min: 50"))
    assert main(["why", "last", "doc-3"]) == 0
    assert "long: stays" in capsys.readouterr().out
