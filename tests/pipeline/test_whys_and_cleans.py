"""`why` for documents that stayed, went or never came so far; `clean` and the leases of runs."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from whole_runs import births, documents, go, nodes_of, write_config, write_cut

from pipeline.cli import main
from pipeline.store import Store

DAG = """
    source: {path: in, text: text, id: id}
    nodes:
      exact: {op: exact_dedup}
      fuzzy: {op: minhash_dedup, threshold: 0.8}
      long:  {op: length_filter, unit: words, min: 5}
    export: {path: out/}
"""

FAIL = '''
from operators.contract import TEXT, MapOp


class Fail(MapOp):
    """Fails."""

    reads = property(lambda self: {"text": TEXT})
    adds = property(lambda self: {})

    def columns(self, batch, uses):
        raise RuntimeError("by design")
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    near = [f"word{i}" for i in range(60)]
    texts = [
        " ".join(near),
        "two words",
        "two words",
        " ".join([*near[:-1], "other"]),
        "six words are in this text",
    ]
    write_cut(tmp_path / "in", documents(texts), files=1)
    write_config(tmp_path, DAG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def why(document: str, capsys: pytest.CaptureFixture[str], *, code: int = 0) -> list[str]:
    assert main(["why", "last", document]) == code
    out = capsys.readouterr()
    return (out.err if code else out.out).splitlines()


def test_why_says_what_happened_to_a_document(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    go(folder / "c.yaml")
    stays = why("doc-4", capsys)
    assert stays[0].startswith("doc-4 (uid 4, ")
    assert stays[0].endswith("in/part-000.parquet:row 4)")
    assert [line.split(" (")[0] for line in stays[2:]] == ["exact: stays", "fuzzy: stays", "long: stays"]
    assert stays[-1] == "long: stays (length 6)"
    twin = why("doc-2", capsys)
    assert twin[2].startswith("exact: DROPPED, exact_duplicate")
    assert "kept instead: doc-1 (uid 1): two words" in twin[3]
    assert twin[4:] == ["fuzzy: did not come so far", "long: did not come so far"]
    near = "\n".join(why("uid:3", capsys))
    assert "fuzzy: DROPPED, near_duplicate" in near
    assert '"similarity": 0.9' in near
    assert "kept instead: doc-0 (uid 0)" in near
    assert "long: DROPPED, too_short" in why("doc-1", capsys)[-1]


def test_why_speaks_of_the_run_not_of_todays_config(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    go(folder / "c.yaml")
    write_config(folder, DAG.replace("min: 5", "min: 50"))
    assert why("doc-4", capsys)[-1] == "long: stays (length 6)"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("doc-99", "no document has the id 'doc-99'"),
        ("uid:5", "the source has 5 rows"),
        ("uid:x", "no document has the id 'uid:x'"),
    ],
)
def test_an_unknown_document_is_a_hint_and_2(
    folder: Path, document: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    go(folder / "c.yaml")
    assert said in "\n".join(why(document, capsys, code=2))


def test_an_unknown_run_is_a_hint_and_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "last", "doc-1"]) == 2
    assert "the latest are: none" in capsys.readouterr().err


def keys(data: dict[str, object]) -> set[str]:
    return {node["key"] for node in nodes_of(data).values()}


def test_clean_keeps_what_recent_runs_need_and_a_later_run_computes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = go(folder / "c.yaml", ["nodes.long.min=3"])
    new = go(folder / "c.yaml")
    before = births(folder / ".tamis/nodes")
    assert main(["clean", "--keep", "1", "--dry-run"]) == 0
    assert births(folder / ".tamis/nodes") == before
    assert main(["clean", "--keep", "1"]) == 0
    there = {path.name for path in (folder / ".tamis/nodes").iterdir()}
    assert keys(new) <= there
    assert not (keys(old) - keys(new)) & there
    assert [p.name for p in (folder / ".tamis/runs").iterdir()] == [new["run"]]
    again = go(folder / "c.yaml")
    assert all(node["computed_rows"] == 0 for node in again["nodes"])
    assert main(["clean", "--keep", "0"]) == 0
    assert Store(str(folder / ".tamis")).list("nodes") == []
    assert go(folder / "c.yaml")["kept"] == new["kept"]


def test_clean_leaves_what_a_running_run_has_leased(folder: Path) -> None:
    data = go(folder / "c.yaml")
    lease = folder / ".tamis/runs" / data["run"] / "lease.json"
    record = json.loads(lease.read_text())
    assert record["state"] == "done"
    assert keys(data) <= set(record["nodes"])
    (folder / ".tamis/nodes/round").mkdir()
    (folder / ".tamis/nodes/round/0.json").write_text("{}")  # as of a loop that is under way
    before = births(folder / ".tamis/nodes")
    elsewhere = record | {"state": "running", "machine": "another"}
    for living in (record | {"state": "running", "expires": 0.0}, elsewhere | {"expires": time.time() + 60}):
        lease.write_text(json.dumps(living))
        assert main(["clean", "--keep", "0"]) == 0
        assert births(folder / ".tamis/nodes") == before
    lease.write_text(json.dumps(elsewhere | {"expires": time.time() - 1}))
    assert main(["clean", "--keep", "0"]) == 0
    assert not list((folder / ".tamis/nodes").iterdir())


def test_a_run_that_failed_has_ended_its_lease_and_left_its_log(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "fail.py").write_text(FAIL)
    assert main(["run", "c.yaml", "--set", "nodes.long={op: ./fail.py}"]) == 3
    (run,) = (folder / ".tamis/runs").iterdir()
    assert json.loads((run / "lease.json").read_text())["state"] == "failed"
    assert "RuntimeError: by design" in (run / "error.log").read_text()
    assert main(["why", "last", "doc-1"]) == 2  # it has no data to look at
    assert "the latest are: none" in capsys.readouterr().err
