"""Runs on Ray nodes that the files for clusters start on this machine: who may join, and how it ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_nodes import CLUSTER, ROOT, START_S, Nodes, another_tamis, without_tamis
from whole_runs import corpus, go, read_export, write_config, write_cut

pytest.importorskip("ray")
pytest.importorskip("aiohttp_cors", reason="needs ray[default]: the dashboard and the job server")
pytestmark = [pytest.mark.ray, pytest.mark.slow]

CONFIG = """
    source: {{path: {folder}/in/*.parquet, id: id, shard_bytes: 1}}
    seed: 7
    export: {{path: {folder}/{out}, columns: [order]}}
    nodes:
      exact: {{op: exact_dedup}}
      long:  {{op: length_filter, unit: words, min: 5}}
      order: {{op: curriculum, difficulty: length, pacing: root}}
"""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    made = Nodes()
    try:
        made.head()
        made.worker("good")
        yield made
    finally:
        made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A corpus, and the export of a local run in `here`."""
    write_cut(tmp_path / "in", corpus(150), files=3)
    go(write_config(tmp_path / "local", CONFIG.format(folder=tmp_path, out="here")))
    return tmp_path


def tamis(nodes: Nodes, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`tamis run` as on the head of the cluster."""
    config = write_config(folder / "job", CONFIG.format(folder=folder, out="there"))
    command = [sys.executable, "-m", "pipeline.cli", "run", str(config), "--engine", "ray", "--plain"]
    command += ["--address", nodes.address, "--store", str(folder / "store"), *arguments]
    environment = nodes.environment()
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)


def test_the_job_server_listens_here_alone_and_wants_the_token(nodes: Nodes) -> None:
    def ask(token: str | None, host: str = "127.0.0.1") -> int:
        url = f"http://{host}:{nodes.dashboard}/api/jobs/"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert ask(None) == 401
    assert ask("wrong") == 403
    assert ask((nodes.folder / "token").read_text()) == 200
    host = nodes.address.split(":")[0]
    with pytest.raises(urllib.error.URLError, match="refused"):
        ask(None, host)


def test_a_driver_without_the_token_does_not_get_in(nodes: Nodes, folder: Path) -> None:
    (nodes.folder / "wrong").write_text("0" * 64)
    config = write_config(folder / "job", CONFIG.format(folder=folder, out="there"))
    command = [sys.executable, "-m", "pipeline.cli", "run", str(config), "--engine", "ray", "--plain"]
    command += ["--address", nodes.address, "--store", str(folder / "store")]
    environment = nodes.environment() | {"RAY_AUTH_TOKEN_PATH": str(nodes.folder / "wrong")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 4, done.stderr
    assert (nodes.folder / "token").read_text() not in done.stdout + done.stderr


def test_a_job_brings_its_tamis_and_ends_with_its_code(nodes: Nodes, folder: Path) -> None:
    write_config(folder / "job", CONFIG.format(folder=folder, out="there"))
    submit = ["bash", str(CLUSTER / "submit.sh"), "job/c.yaml", "--store", str(folder / "store")]
    environment = nodes.environment()
    done = subprocess.run(submit, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_export(folder / "there") == read_export(folder / "here")
    wrong = [*submit, "--set", "nodes.long.unit=miles"]
    done = subprocess.run(wrong, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 2, done.stdout + done.stderr


def test_a_node_with_another_tamis_is_refused_also_when_it_joins_later(nodes: Nodes, folder: Path) -> None:
    script = folder / "drive.py"
    script.write_text(LATE)
    log = (folder / "late.log").open("w")
    driver = subprocess.Popen(
        [sys.executable, str(script), nodes.address, str(folder)], cwd=folder, env=nodes.environment(),
        stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        until(lambda: (folder / "checked").exists() or driver.poll() is not None)
        assert driver.poll() is None, (folder / "late.log").read_text()
        nodes.worker("other", another_tamis(folder / "other"))
        (folder / "joined").touch()
        driver.wait(timeout=500)
        said = (folder / "late.log").read_text()
        assert "REFUSED" in said, said
        assert "it has tamis with code" in said
        assert "install the same on every node" in said
        done = tamis(nodes, folder)
        assert done.returncode == 4, done.stderr
        assert "runs other software than the driver: it has tamis with code" in done.stderr
        assert not (folder / "there").exists()
    finally:
        driver.kill()
        driver.wait()
        log.close()
        if "other" in nodes.running:
            nodes.stop("other")


# (The driver's folder, and what it puts on sys.path, Ray puts on the workers' path: neither has tamis.)
LATE = """
import sys, time
from pathlib import Path
import operator
from pipeline.engine import make_engine
from pipeline.errors import ResourceError
from pipeline.store import Store

folder = Path(sys.argv[2])
engine = make_engine("ray", address=sys.argv[1])
engine.check_store(Store(str(folder / "store")))
(folder / "checked").touch()
while not (folder / "joined").exists():
    time.sleep(0.1)
try:
    began = time.monotonic()
    while time.monotonic() - began < 120:
        list(engine.run(operator.call, time.sleep, [0.5] * 12))
except ResourceError as error:
    print("REFUSED", error)
"""


def until(there: object, seconds: float = START_S) -> None:
    deadline = time.monotonic() + seconds
    while not there():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_nodes_without_tamis_get_the_drivers(nodes: Nodes, folder: Path) -> None:
    nodes.stop("good")
    bare = without_tamis(folder / "bare")
    nodes.worker("bare", bare)
    found = subprocess.run(
        [sys.executable, "-c", "import operators"],
        cwd=folder,
        env=nodes.environment(bare),
        capture_output=True,
    )
    assert found.returncode == 1
    done = tamis(nodes, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_export(folder / "there") == read_export(folder / "here")


def test_slurm_starts_ray_runs_and_takes_it_down(folder: Path) -> None:
    done, log = slurm(folder)
    assert done == 0, log
    assert read_export(folder / "there") == read_export(folder / "here")
    assert not list(folder.glob(".tamis-job-*"))
    assert not (folder / "requeued").exists()


def slurm(folder: Path) -> tuple[int, str]:
    """The batch script as Slurm would run it on the first of two nodes, both on this machine."""
    write_config(folder / "job", CONFIG.format(folder=folder, out="there"))
    shims = folder / "bin"
    shims.mkdir()
    for name, text in SHIMS.items():
        (shims / name).write_text(f"#!/bin/bash\n{text}")
        (shims / name).chmod(0o755)
    shutil.copytree(CLUSTER, folder / "workflows/cluster")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {
        "PATH": f"{shims}:{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "1", "SLURM_SUBMIT_DIR": str(folder), "FOLDER": str(folder),
        "RAY_raylet_start_wait_time_s": str(START_S),
    }  # fmt: skip
    command = ["bash", str(CLUSTER / "slurm.sbatch"), "job/c.yaml", "--store", str(folder / "store")]
    with (folder / "slurm.log").open("wb") as out:
        done = subprocess.run(command, cwd=folder, env=environment, stdout=out, stderr=out, timeout=550)
    return done.returncode, (folder / "slurm.log").read_text(errors="replace")


# What Slurm's commands do, for nodes that are all this machine.
SHIMS = {
    "scontrol": '[ "$1" = requeue ] && echo "$2" >> "$FOLDER/requeued" || printf "node1\\nnode2\\n"\n',
    "srun": 'while [[ $1 == --* ]]; do shift; done\nexec "$@"\n',
}
