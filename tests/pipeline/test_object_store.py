"""A whole run with source, store and export on an object store; memory:// is for one process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
from whole_runs import corpus, go, nodes_of, read_export, write_config, write_cut

from pipeline.cli import main
from pipeline.engine import Engine

NODES = """
    seed: 7
    nodes:
      exact: {op: exact_dedup}
      long:  {op: length_filter, unit: words, min: 5}
      under: {op: undersample, by: domain, ratio: 0.5}
      order: {op: curriculum, difficulty: length, pacing: root}
"""
REMOTE = """
    source: {{path: {url}/in/*.parquet, id: id, shard_bytes: 1}}
    store: {url}/store
    export: {{path: {url}/out, columns: [order], file_bytes: 8KB, dropped: {url}/gone}}
"""
HERE = """
    source: {path: in/*.parquet, id: id, shard_bytes: 1}
    export: {path: out, columns: [order], file_bytes: 8KB}
"""


def config(folder: Path, head: str, **values: str) -> Path:
    head = dedent(head.format(**values) if values else head)
    return write_config(folder, head + dedent(NODES))


def objects(url: str) -> dict[str, Any]:
    """Name -> ETag of everything below."""
    fs, root = fsspec.core.url_to_fs(url)
    fs.invalidate_cache()
    return {name: info["ETag"] for name, info in fs.find(root, detail=True).items()}


def test_a_run_with_everything_on_s3_equals_one_here_and_resumes(tmp_path: Path, s3_url: str) -> None:
    write_cut(tmp_path / "in", corpus(200), files=3)
    url = f"{s3_url}/whole"
    fs, root = fsspec.core.url_to_fs(url)
    fs.put(str(tmp_path / "in"), f"{root}/in", recursive=True)
    here = go(config(tmp_path / "here", HERE.replace("in/", f"{tmp_path}/in/")))
    there = config(tmp_path / "there", REMOTE, url=url)
    data = go(there)
    assert data["kept"] == here["kept"]
    fs.get(f"{root}/out", str(tmp_path / "fetched"), recursive=True)
    assert read_export(tmp_path / "fetched") == read_export(tmp_path / "here/out")
    fs.get(f"{root}/gone", str(tmp_path / "gone"), recursive=True)
    assert len(read_export(tmp_path / "gone")) == 200 - here["kept"]
    before = objects(f"{url}/store/nodes") | objects(f"{url}/out")
    again = go(there)
    assert all(node["computed_rows"] == 0 for node in again["nodes"])
    assert objects(f"{url}/store/nodes") | objects(f"{url}/out") == before
    assert {n: node["key"] for n, node in nodes_of(again).items()} == {
        n: node["key"] for n, node in nodes_of(data).items()
    }
    assert not (tmp_path / "there/.tamis").exists()


def test_a_run_on_s3_that_was_cut_off_goes_on(tmp_path: Path, s3_url: str) -> None:
    write_cut(tmp_path / "in", corpus(120), files=1)
    text = HERE.replace("in/", f"{tmp_path}/in/") + f"    store: {s3_url}/resumed\n"
    whole = config(tmp_path / "c", text)
    fail = ["nodes.under.by=score"]  # 120 different floats: an error in the middle of the run
    assert main(["run", str(whole), "--set", fail[0]]) in (2, 3)
    data = go(whole)
    assert nodes_of(data)["exact"]["rows_in"] == 120
    assert main(["why", "--config", str(whole), "last", "doc-0"]) == 0
    assert main(["clean", "--config", str(whole), "--keep", "0"]) == 0
    assert not objects(f"{s3_url}/resumed/nodes")


def test_memory_is_a_store_for_the_local_engine(tmp_path: Path) -> None:
    write_cut(tmp_path / "in", corpus(50), files=2)
    data = go(config(tmp_path, HERE), store="memory://tamis-run")
    assert len(read_export(tmp_path / "out")) == data["kept"] > 0
    assert not (tmp_path / ".tamis").exists()
    again = go(config(tmp_path, HERE), store="memory://tamis-run")
    assert all(node["computed_rows"] == 0 for node in again["nodes"])


@pytest.mark.ray
def test_memory_is_refused_with_ray(
    tmp_path: Path, ray_engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cut(tmp_path / "in", corpus(50), files=2)
    path = config(tmp_path, HERE)
    assert main(["run", str(path), "--engine", "ray", "--store", "memory://x"]) == 4
    error = capsys.readouterr().err
    assert "memory://x is this process's memory, which no Ray worker sees" in error
    assert "object store" in error


def test_an_object_that_changed_is_refused_by_name(
    tmp_path: Path, s3_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cut(tmp_path / "in", corpus(50), files=2)
    url = f"{s3_url}/changed"
    fs, root = fsspec.core.url_to_fs(url)
    fs.put(str(tmp_path / "in"), f"{root}/in", recursive=True)
    path = config(tmp_path, REMOTE, url=url)
    path.write_text(path.read_text().split("nodes:")[0] + "nodes: {exact: {op: exact_dedup}}\n")
    go(path, ["export=[]"])
    table = pq.ParquetFile(tmp_path / "in/part-001.parquet").read()
    pq.write_table(table.slice(0, 24), tmp_path / "other.parquet")
    fs.put(str(tmp_path / "other.parquet"), f"{root}/in/part-001.parquet")
    assert main(["run", str(path)]) == 3
    assert f"{url}/in/part-001.parquet changed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environment", "code", "says"),
    [
        ({}, 2, r"no credentials; credentials come from the environment alone.*AWS_ACCESS_KEY_ID"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, 4, r"does not answer \(EndpointConnectionError\)"),
        ({"store": "s3://no-such-bucket/x"}, 2, r"there is no bucket no-such-bucket"),
    ],
)
def test_what_the_environment_lacks_is_said_and_no_secret_is(
    tmp_path: Path, s3_url: str, environment: dict[str, str], code: int, says: str
) -> None:
    write_cut(tmp_path / "in", corpus(20), files=1)
    keys = {"AWS_ACCESS_KEY_ID": "AKIAVISIBLE", "AWS_SECRET_ACCESS_KEY": "verysecret"} if environment else {}
    store = environment.pop("store", s3_url)
    here = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    here |= {"AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"], "AWS_DEFAULT_REGION": "us-east-1"}
    # No file and no machine's role may stand in for the environment.
    here |= {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path), "AWS_MAX_ATTEMPTS": "1"}
    path = config(tmp_path, HERE)
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "run", str(path), "--store", store, "--plain"],
        env=here | keys | environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert re.search(says, done.stderr), done.stderr
    assert "verysecret" not in done.stdout + done.stderr
    assert "AKIAVISIBLE" not in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.ray
def test_a_run_on_ray_with_everything_on_s3_equals_one_here(tmp_path: Path, s3_url: str) -> None:
    write_cut(tmp_path / "in", corpus(200), files=3)
    url = f"{s3_url}/ray"
    fs, root = fsspec.core.url_to_fs(url)
    fs.put(str(tmp_path / "in"), f"{root}/in", recursive=True)
    here = go(config(tmp_path / "here", HERE.replace("in/", f"{tmp_path}/in/")))
    there = config(tmp_path / "there", REMOTE, url=url)
    # A cluster of its own: its workers have this environment.
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "run", str(there), "--engine", "ray", "--address", "local",
         "--plain"],
        env=os.environ, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    fs.invalidate_cache()
    fs.get(f"{root}/out", str(tmp_path / "fetched"), recursive=True)
    assert read_export(tmp_path / "fetched") == read_export(tmp_path / "here/out")
    fs.get(f"{root}/gone", str(tmp_path / "gone"), recursive=True)
    assert len(read_export(tmp_path / "gone")) == 200 - here["kept"]
