"""Figures for Prometheus: a textfile that its own parser reads, and Ray's endpoint, scraped for real."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from whole_runs import corpus, go, nodes_of, write_config, write_cut

from pipeline.cli import main

DAG = """
    source: {path: in/*.parquet, text: text, id: id, shard_bytes: 1}
    nodes:
      exact: {op: exact_dedup}
      long:  {op: length_filter, unit: words, min: 5}
    export: {path: out/}
"""
# What Ray needs to serve /metrics: the extra tamis[metrics].
SERVES = all(
    importlib.util.find_spec(name) for name in ("aiohttp_cors", "opencensus", "prometheus_client")
) and (importlib.util.find_spec("opentelemetry.exporter.prometheus") is not None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_cut(tmp_path / "in", corpus(90), files=3)
    write_config(tmp_path, DAG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def samples(text: str) -> dict[tuple[str, str], float]:
    """(name, node) -> value of tamis's series."""
    found = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            if "tamis_" in one.name and not one.name.endswith("_created"):
                assert one.labels["config"] == "c"
                found[one.name.removeprefix("ray_"), one.labels.get("node", "")] = one.value
    return found


def check(found: dict[tuple[str, str], float], folder: Path) -> None:
    """The figures are those of the run data."""
    data = go(folder / "c.yaml", store=str(folder / "other"))
    for name, node in nodes_of(data).items():
        assert found["tamis_rows_total", name] == node["computed_rows"], name
        assert found["tamis_tasks_total", name] >= 3, name
        if node["dropped"]:
            assert found["tamis_dropped_rows_total", name] == sum(node["dropped"].values()), name
    assert found["tamis_stored_bytes_total", "long"] > 0


def test_the_textfile_has_the_figures_of_the_run(folder: Path) -> None:
    assert main(["run", "c.yaml", "--metrics", "tamis.prom"]) == 0
    found = samples((folder / "tamis.prom").read_text())
    check(found, folder)
    assert found["tamis_run_running", ""] == 0
    assert found["tamis_run_exit_code", ""] == 0
    assert time.time() - 600 < found["tamis_run_seen_seconds", ""] <= time.time()
    assert [path.name for path in folder.glob("tamis.prom*")] == ["tamis.prom"]
    assert main(["run", "c.yaml", "--metrics", "tamis.prom", "--allow", "nobody"]) == 2
    assert samples((folder / "tamis.prom").read_text())["tamis_run_exit_code", ""] == 2


@pytest.mark.parametrize("path", ["nowhere/tamis.prom", "figures.txt", "in"])
def test_a_file_that_node_exporter_would_not_read_is_refused(
    folder: Path, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "c.yaml", "--metrics", path]) == 2
    assert f"error: --metrics {path}: " in capsys.readouterr().err


SCRAPED = """
import sys, time, urllib.request
from pathlib import Path
import ray
from pipeline import ray_cluster
from pipeline.config import load_config
from pipeline.prepare import RunOptions
from pipeline.progress import Progress
from pipeline.run import run
ray_cluster.connect(2, "local")
run(load_config("c.yaml"), RunOptions(engine="ray"), Progress(quiet=True))
(node,) = ray_cluster.alive_nodes()
address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
for _ in range(90):
    time.sleep(1)
    with urllib.request.urlopen(address, timeout=10) as answer:
        text = answer.read().decode()
    if "tamis_run_exit_code" in text and "tamis_stored_bytes" in text:
        break
Path("scraped.txt").write_text(text)
"""


@pytest.mark.slow
@pytest.mark.skipif(not SERVES, reason="needs tamis[metrics]")
def test_rays_endpoint_serves_the_figures_of_the_run(folder: Path) -> None:
    subprocess.run([sys.executable, "-c", SCRAPED], cwd=folder, check=True, env=dict(os.environ), timeout=300)
    check(samples((folder / "scraped.txt").read_text()), folder)
