"""`tamis status` and the log of a run: while it runs, after its end, after kill -9, Ctrl-C and errors."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from whole_runs import corpus, go, tamis, write_config, write_cut

from pipeline import status as states
from pipeline.alive import birth_of, lives, me
from pipeline.cli import main
from pipeline.ledger import known_runs
from pipeline.runlog import read_log
from pipeline.store import Store

DAG = """
    source: {path: in/*.parquet, text: text, id: id, shard_bytes: 1}
    nodes:
      exact: {op: exact_dedup}
      slow:  {op: ./slow.py}
      long:  {op: length_filter, unit: words, min: 5}
    export: {path: out/}
"""
SLOW = '''
import os
import time

import pyarrow as pa

from operators.contract import TEXT, MapOp


class Slow(MapOp):
    """Waits while the file $HOLD is there; fails on request."""

    reads = property(lambda self: {"text": TEXT})
    adds = property(lambda self: {"n": pa.int64()})

    def columns(self, batch, uses):
        while os.path.exists(os.environ.get("HOLD", "")):
            time.sleep(0.01)
        if "FAIL" in os.environ:
            raise RuntimeError(f"by design, at {batch.column('text')[0].as_py()}")
        return {"n": pa.array([1] * batch.num_rows)}
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_cut(tmp_path / "in", corpus(60), files=3)
    (tmp_path / "slow.py").write_text(SLOW)
    write_config(tmp_path, DAG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def store(folder: Path) -> Store:
    return Store(str(folder / ".tamis"))


def held(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A run in a process of its own that stands in its second node."""
    (folder / "hold").touch()
    process = tamis(folder, "run", "c.yaml", "--workers", "2", *arguments, HOLD=str(folder / "hold"))
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        if known_runs(store(folder)):
            nodes = {node["name"]: node for node in states.status(store(folder))["nodes"]}
            if nodes.get("exact", {}).get("state") in ("running", "done"):
                return process
        time.sleep(0.05)
    process.kill()
    raise AssertionError(process.communicate()[1].decode())


def events(folder: Path) -> list[dict[str, Any]]:
    return list(read_log(store(folder), known_runs(store(folder))[-1]))


def test_a_run_is_running_then_killed_never_running_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = held(folder)
    assert main(["status"]) == 0
    shown = capsys.readouterr().out
    assert ": running, last sign of life" in shown
    assert f"it runs on {socket.gethostname()}, process {process.pid}" in shown
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert main(["status", "--store", ".tamis"]) == 4
    shown = capsys.readouterr().out
    assert f"killed: its process {process.pid} on {socket.gethostname()} is gone" in shown
    assert shown.splitlines()[-1].endswith(f"cd {folder} && tamis run c.yaml --workers 2")
    assert main(["status", "--all"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split("  ")[1].startswith("killed, ")


def test_ctrl_c_says_that_it_can_be_resumed_everywhere(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = held(folder)
    process.send_signal(signal.SIGINT)
    (folder / "hold").unlink()
    error = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 4
    assert "interrupted; what is finished is kept" in error
    assert error.splitlines()[-1] == "resume with: tamis run c.yaml --workers 2"
    assert main(["status", "--json"]) == 4
    found = json.loads(capsys.readouterr().out)
    assert found["state"] == "interrupted"
    assert "resume with" in found["next"]
    last = events(folder)[-1]
    assert (last["event"], last["level"]) == ("run_interrupted", "warning")
    assert last["resume"] == "tamis run c.yaml --workers 2"
    assert "Interrupted" in last["exception"]


def test_a_second_ctrl_c_ends_at_once_and_the_next_run_goes_on(folder: Path) -> None:
    process = held(folder)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)  # it waits for the tasks under way, which the file holds
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 4
    assert error.splitlines()[-2:] == ["ended at once", "resume with: tamis run c.yaml --workers 2"]
    assert "Traceback" not in error
    assert states.status(store(folder))["state"] == "killed"
    (folder / "hold").unlink()
    assert main(["run", "c.yaml"]) == 0
    assert states.status(store(folder))["state"] == "done"


def test_a_failed_run_ends_its_log_in_the_error(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "1")
    assert main(["run", "c.yaml"]) == 3
    capsys.readouterr()
    assert main(["status"]) == 3
    shown = capsys.readouterr().out
    assert "failed with exit code 3" in shown
    assert "error: slow (./slow.py) failed on " in shown
    assert "by design" in shown
    last = events(folder)[-1]
    assert (last["event"], last["level"], last["exit_code"]) == ("run_failed", "error", 3)
    assert "RuntimeError: by design" in last["exception"]


def test_the_log_has_every_task_with_its_node_shard_and_worker(folder: Path) -> None:
    data = go(folder / "c.yaml")
    told = events(folder)
    assert {event["run"] for event in told} == {data["run"]}
    assert [told[0]["event"], told[-1]["event"]] == ["run_started", "run_done"]
    assert [event["time"] for event in told] == sorted(event["time"] for event in told)
    tasks = [event for event in told if event["event"] == "task"]
    slow = [event for event in tasks if event["node"] == "slow"]
    assert sorted(event["shard"] for event in slow) == [0, 1, 2]
    assert all(e["host"] == socket.gethostname() and e["worker"] == str(os.getpid()) for e in tasks)
    assert all(event["duration"] >= 0 and event["level"] == "debug" for event in tasks)
    for node in data["nodes"]:
        computed = sum(e["rows"] for e in tasks if e["node"] == node["name"])
        assert computed == node["computed_rows"]
        dropped = sum(e["dropped"] for e in tasks if e["node"] == node["name"])
        assert dropped == sum(node["dropped"].values())
    books = {event["node"]: event for event in told if event["event"] == "node_books"}
    assert books["exact"]["rows_in"] == 60
    found = states.status(store(folder))
    kept = {node["name"]: (node["kept"], node["judged"]) for node in found["nodes"] if node.get("judged")}
    assert kept["exact"] == (books["exact"]["rows_out"], 60)
    assert kept["long"] == (books["long"]["rows_out"], books["long"]["rows_in"])


def test_json_on_stderr_is_json_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "c.yaml", "--log-format", "json", "--log-level", "debug"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {"run_started", "note", "node_started", "node_done", "task", "run_done"} <= {
        line["event"] for line in lines
    }
    assert main(["run", "c.yaml", "--log-format", "json", "--set", "nodes.long.min=x"]) == 2
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (lines[-2]["event"], lines[-2]["level"]) == ("error", "error")


def test_levels_of_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "c.yaml", "--log-level", "warning"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["run", "c.yaml", "--log-level", "debug", "--set", "nodes.long.min=6"]) == 0
    assert "debug task node=long step=columns shard=" in capsys.readouterr().err


def of_another_machine(folder: Path, **changed: Any) -> None:
    """The latest run as if another machine were running it."""
    run = known_runs(store(folder))[-1]
    path = folder / ".tamis/runs" / run / "state.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"state": "running", "machine": "x", "every_s": 0.2} | changed))


def test_a_run_elsewhere_is_judged_by_its_beats_whatever_its_clock_says(folder: Path) -> None:
    go(folder / "c.yaml")
    of_another_machine(folder, now=time.time())
    assert states.status(store(folder))["state"] == "running"
    for clock in (-3600, -5, 3600):  # nobody beats
        of_another_machine(folder, now=time.time() + clock)
        assert states.status(store(folder))["state"] == "silent"
        assert states.status(store(folder))["exit_code"] == 4
    of_another_machine(folder, now=time.time() + 3600, every_s=20)
    beating = "import json, sys, time; time.sleep(0.5); p = sys.argv[1]; d = json.load(open(p)); "
    beating += "d['beat'] += 1; open(p, 'w').write(json.dumps(d))"
    path = next((folder / ".tamis/runs").glob("*/state.json"))
    process = subprocess.Popen(["python3", "-c", beating, str(path)])
    assert states.status(store(folder))["state"] == "running"
    process.wait()


def test_a_pid_that_is_used_again_is_another_process() -> None:
    assert lives(me())
    assert lives(me() | {"birth": "1"}) is False
    assert lives(me() | {"machine": "another"}) is None
    gone = subprocess.Popen(["true"])
    who = me() | {"pid": gone.pid, "birth": birth_of(gone.pid)}
    time.sleep(0.1)
    assert lives(who) is False  # a zombie
    gone.wait()
    assert lives(who) is False


def test_a_run_that_failed_before_it_began_has_a_state(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "c.yaml", "--allow", "nobody"]) == 2
    capsys.readouterr()
    assert main(["status"]) == 2
    assert "--allow nobody: no node of that name" in capsys.readouterr().out


def test_no_such_run_is_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 2
    assert "the latest are: none" in capsys.readouterr().err


def test_on_an_object_store(
    tmp_path: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cut(tmp_path / "in", corpus(40), files=2)
    (tmp_path / "slow.py").write_text(SLOW)
    url = f"{s3_url}/status"
    data = go(write_config(tmp_path, DAG), store=url)
    told = list(read_log(Store(url), data["run"]))
    assert [told[0]["event"], told[-1]["event"]] == ["run_started", "run_done"]
    monkeypatch.chdir(tmp_path / "in")  # no config is needed
    assert main(["status", "--store", url]) == 0
    assert ": done, " in capsys.readouterr().out


@pytest.mark.ray
def test_the_log_of_a_run_on_ray_names_its_workers(folder: Path, ray_engine: Any) -> None:
    go(folder / "c.yaml", engine="ray")
    tasks = [event for event in events(folder) if event["event"] == "task"]
    assert {event["host"] for event in tasks} == {socket.gethostname()}
    assert str(os.getpid()) not in {event["worker"] for event in tasks}
    assert states.status(store(folder))["engine"] == "ray"
