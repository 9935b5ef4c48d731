"""What `tamis clean` collects: everything that no run which stays reaches, and nothing else."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from whole_runs import births, corpus, go, write_config, write_cut

from pipeline import clean as cleaning
from pipeline.clean import clean, found_runs
from pipeline.cli import main
from pipeline.errors import ResourceError
from pipeline.store import Store

DAG = """
    source: {path: in.jsonl, text: text, id: id, shard_bytes: 1}
    nodes:
      fuzzy: {op: minhash_dedup, threshold: 0.8}
      long:  {op: length_filter, unit: words, min: 5}
      order: {op: curriculum, difficulty: length, pacing: root}
    export: {path: out/, format: index, file_bytes: 4KB}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = corpus(80).to_pylist()
    (tmp_path / "in.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    write_config(tmp_path, DAG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def store(folder: Path) -> Store:
    return Store(str(folder / ".tamis"))


def tops(folder: Path, kind: str) -> set[str]:
    there = folder / ".tamis" / kind
    return {path.name for path in there.iterdir()} if there.exists() else set()


def lease(folder: Path, run: str, **changed: Any) -> None:
    path = folder / ".tamis/runs" / run / "lease.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def test_what_the_runs_that_stay_reach_is_untouched_and_all_else_goes(folder: Path) -> None:
    old = go(folder / "c.yaml", ["nodes.fuzzy.threshold=0.5"])
    new = go(folder / "c.yaml")
    (folder / ".tamis/nodes/orphan").mkdir()
    (folder / ".tamis/nodes/orphan/0.json").write_text("{}")
    (folder / ".tamis/ingest/0a0a").mkdir()
    (folder / ".tamis/ingest/0a0a/part").write_text("of a file that changed since")
    before = births(folder / ".tamis")
    made = clean(store(folder), keep=1)
    (_, kept) = sorted([old["run"], new["run"]])
    reached = next(run.roots for run in found_runs(store(folder)) if run.name == kept)
    stays = {n: b for n, b in before.items() if "/".join(n.split("/")[:2]) in reached or "manifests" in n}
    assert births(folder / ".tamis") == stays
    assert any(name.startswith("ingest/") for name in stays)
    assert "nodes/orphan" in made.folders
    assert "ingest/0a0a" in made.folders
    out = births(folder / "out")
    again = go(folder / "c.yaml")
    assert [node["computed_rows"] for node in again["nodes"]] == [0] * len(again["nodes"])
    assert births(folder / "out") == out


def test_the_books_of_a_clean_are_exact(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    go(folder / "c.yaml", ["nodes.fuzzy.threshold=0.5"])
    go(folder / "c.yaml")
    size = sum(store(folder).sizes("").values())
    planned = clean(store(folder), keep=1, dry_run=True)
    assert sum(store(folder).sizes("").values()) == size
    done = clean(store(folder), keep=1)
    assert planned == done
    assert sum(store(folder).sizes("").values()) == done.left_bytes == size - sum(done.bytes.values())
    (gone,) = done.gone
    assert 0 < done.own_bytes[gone.name] <= sum(done.bytes.values())
    assert main(["clean", "--keep", "0", "--yes"]) == 0
    said = capsys.readouterr().out
    assert "freed" in said
    assert "converted sources: 1," in said
    assert said.splitlines()[-1] == "kept the runs: none"


def test_by_age_and_by_size(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [go(folder / "c.yaml", [f"nodes.long.min={n}"])["run"] for n in (3, 4, 5)]
    state = folder / ".tamis/runs" / runs[0] / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"now": time.time() - 7200}))
    assert clean(store(folder), 9, dry_run=True, older_s=3600).kept_runs == tuple(runs[1:])
    whole = clean(store(folder), 9, dry_run=True).left_bytes
    assert clean(store(folder), 9, dry_run=True, max_bytes=whole).kept_runs == tuple(runs)
    assert clean(store(folder), 9, dry_run=True, max_bytes=whole - 20_000).kept_runs == tuple(runs[1:])
    assert clean(store(folder), 9, dry_run=True, max_bytes=0).kept_runs == ()
    assert main(["clean", "--older-than", "1h", "--max-size", "1GB"]) == 0
    assert tops(folder, "runs") == set(runs[1:])
    assert main(["clean", "--older-than", "soon"]) == 2
    assert "give one like 90m, 12h, 30d or 2w" in capsys.readouterr().err


def test_while_a_run_is_under_way_only_what_ended_runs_had_goes(folder: Path) -> None:
    old = go(folder / "c.yaml", ["nodes.fuzzy.threshold=0.5"])
    new = go(folder / "c.yaml")
    lease(folder, new["run"], state="running")  # by this very process
    for name in ("nodes/loop", "exports/under-way", "ingest/0a0a", "train/data/x"):
        (folder / ".tamis" / name).mkdir(parents=True)
        (folder / ".tamis" / name / "0.json").write_text("{}")
    before = births(folder / ".tamis")
    made = clean(store(folder), keep=0)
    assert made.kept_runs == (new["run"],)
    reached = {run.name: run.roots for run in found_runs(store(folder))}[new["run"]]
    gone = set(before) - set(births(folder / ".tamis"))
    assert gone
    assert not any("/".join(name.split("/")[:2]) in reached for name in gone)
    theirs = {f"nodes/{node['key']}" for node in old["nodes"]} | {f"runs/{old['run']}"}
    assert {"/".join(name.split("/")[:2]) for name in gone} <= theirs
    assert (folder / ".tamis/train/data/x/0.json").exists()
    lease(folder, new["run"], state="done")
    clean(store(folder), keep=1)
    assert not (folder / ".tamis/train/data/x").exists()
    assert "loop" not in tops(folder, "nodes")


def test_a_killed_run_of_this_machine_is_not_running_whatever_its_lease_says(folder: Path) -> None:
    data = go(folder / "c.yaml")
    gone = subprocess.Popen(["true"])
    gone.wait()
    lease(folder, data["run"], state="running", pid=gone.pid, expires=time.time() + 900)
    assert [run.state for run in found_runs(store(folder))] == ["dead"]
    clean(store(folder), keep=0)
    assert tops(folder, "nodes") == set()


def test_temporaries_of_dead_processes_go_those_of_other_hosts_by_age(folder: Path) -> None:
    go(folder / "c.yaml")
    gone = subprocess.Popen(["true"])
    gone.wait()
    tmp, here = folder / ".tamis/tmp", socket.gethostname()
    names = {"dead": f"{here}-{gone.pid}-a", "mine": f"{here}-{os.getpid()}-b", "young": "other-1-c"}
    names["old"] = "other-1-d"
    for name in names.values():
        (tmp / name).write_text("x" * 10)
    old = time.time() - cleaning.FOREIGN_S - 60
    os.utime(tmp / names["old"], (old, old))
    made = clean(store(folder), keep=5)
    assert {name for name in made.folders if name.startswith("tmp/")} == {
        f"tmp/{names['dead']}", f"tmp/{names['old']}"
    }  # fmt: skip
    assert tops(folder, "tmp") == {names["mine"], names["young"]}


def test_a_run_that_begins_meanwhile_stops_it(folder: Path) -> None:
    go(folder / "c.yaml")

    def begin(_: Any) -> bool:
        (folder / ".tamis/runs/20990101T000000.000-x-abcd").mkdir()
        (folder / ".tamis/runs/20990101T000000.000-x-abcd/lease.json").write_text("{}")
        return True

    before = births(folder / ".tamis/nodes")
    with pytest.raises(ResourceError, match="began meanwhile"):
        clean(store(folder), keep=0, agree=begin)
    assert births(folder / ".tamis/nodes") == before


def test_a_terminal_is_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    go(folder / "c.yaml")
    before = births(folder / ".tamis")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    assert main(["clean", "--keep", "0"]) == 0
    assert "nothing was deleted" in capsys.readouterr().out
    assert births(folder / ".tamis") == before
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert main(["clean", "--keep", "0"]) == 0
    assert tops(folder, "nodes") == set()


@pytest.mark.slow
def test_on_an_object_store(tmp_path: Path, s3_url: str) -> None:
    write_cut(tmp_path / "in", corpus(40), files=2)
    write_config(tmp_path, DAG.replace("in.jsonl", "in/*.parquet").replace("        export", "export"))
    url = f"{s3_url}/cleaned"
    old = go(tmp_path / "c.yaml", ["nodes.fuzzy.threshold=0.5"], store=url)
    new = go(tmp_path / "c.yaml", store=url)
    made = clean(Store(url), keep=1)
    assert {run.name for run in made.gone} == {old["run"]}
    names = Store(url).list("nodes")
    keys = {node["key"] for node in new["nodes"]}
    assert {name.split("/")[1] for name in names} <= keys
    assert all(node["computed_rows"] == 0 for node in go(tmp_path / "c.yaml", store=url)["nodes"])
