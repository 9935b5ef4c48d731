"""Ray without memory: a full object store is no matter, a worker killed for want of it runs again, alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from whole_runs import corpus, digests, go, write_config, write_cut

from pipeline.allotment import machine_bytes
from pipeline.ledger import load_run
from pipeline.store import Store

pytestmark = [pytest.mark.ray, pytest.mark.slow]
TESTS = Path(__file__).parent.parent
GIB = 1 << 30
DAG = """
    source: {path: in, text: text, id: id, shard_bytes: 1}
    nodes:
      exact: {op: exact_dedup}
      fuzzy: {op: minhash_dedup, threshold: 0.8}
      order: {op: curriculum, difficulty: length, pacing: root}
    export: {path: out/, columns: [order], file_bytes: 20KB}
"""
FULL_STORE = """
    import numpy as np
    import ray
    from whole_runs import go
    from pathlib import Path

    ray.init(address="local", num_cpus=2, object_store_memory=78 << 20, include_dashboard=False)
    kept = [ray.put(np.full(60 << 20, i, np.uint8)) for i in range(3)]
    go(Path("c.yaml"), engine="ray")
    assert [int(ray.get(ref)[0]) for ref in kept] == [0, 1, 2]
"""
HUNGRY = '''
from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import ray

from operators.contract import Adds, Columns, MapOp, Reads, Uses


class HungryRows(MapOp):
    """Takes far more memory than there is, the first `attempts` times."""

    folder: str
    attempts: int

    @property
    def reads(self) -> Reads:
        return {"uid": pa.int64()}

    @property
    def adds(self) -> Adds:
        return {"cpus": pa.float64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        seen = len(os.listdir(self.folder))
        Path(self.folder, str(seen)).touch()
        if seen < self.attempts:
            held = [np.ones(1 << 28, np.uint8) for _ in range(16)]
            time.sleep(60)  # until it is killed
            raise ValueError(f"nobody killed a task that holds {sum(part.nbytes for part in held)} bytes")
        cpus = float(ray.get_runtime_context().get_assigned_resources()["CPU"])
        return {"cpus": pa.array(np.full(batch.num_rows, cpus))}
'''


def test_a_full_object_store_changes_nothing(tmp_path: Path) -> None:
    for name in ("local", "ray"):
        write_cut(tmp_path / name / "in", corpus(400), files=6)
        write_config(tmp_path / name, DAG)
    go(tmp_path / "local" / "c.yaml")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    command = [sys.executable, "-c", dedent(FULL_STORE)]
    told = subprocess.run(
        command, cwd=tmp_path / "ray", env=environment, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert digests(tmp_path / "ray", "out") == digests(tmp_path / "local", "out")


def used() -> int:
    """Bytes of this machine that are in use."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    there = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    return there["MemTotal"] - there["MemAvailable"]


def hungry(folder: Path, attempts: int) -> subprocess.CompletedProcess[str]:
    """A run with a node that takes 4 GiB, on a Ray that kills who comes 2.5 GiB over what is used now."""
    total = machine_bytes() or 0
    if total - used() < 6 * GIB:
        pytest.skip("needs 6 GiB of free memory")
    write_cut(folder / "in", corpus(40), files=1)
    (folder / "hungry_rows.py").write_text(HUNGRY)
    (folder / "seen").mkdir()
    node = f"{{op: ./hungry_rows.py, folder: {folder / 'seen'}, attempts: {attempts}}}"
    write_config(folder, f"source: {{path: in, id: id}}\nnodes: {{hungry: {node}}}\n")
    share = (used() + 2.5 * GIB) / total
    environment = os.environ | {"RAY_memory_usage_threshold": f"{share:.3f}", "PYTHONPATH": str(TESTS.parent)}
    command = [sys.executable, "-m", "pipeline.cli", "run", "c.yaml", "--plain", "--engine", "ray"]
    command += ["--workers", "2", "--address", "local"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_task_killed_for_want_of_memory_runs_again_with_less_company(tmp_path: Path) -> None:
    told = hungry(tmp_path, attempts=1)
    assert told.returncode == 0, told.stderr
    assert len(list((tmp_path / "seen").iterdir())) == 2
    (score,) = load_run(Store(str(tmp_path / ".tamis")), None)["scores"]
    assert score["min"] == score["max"] == 2  # CPUs, of two: nobody else ran beside it


def test_a_task_that_never_finds_enough_memory_ends_the_run_and_says_what_to_set(tmp_path: Path) -> None:
    told = hungry(tmp_path, attempts=100)
    assert told.returncode == 4, told.stderr
    assert "its node ran out of memory, also with fewer tasks beside it" in told.stderr
    assert "--memory" in told.stderr
    assert "resume with: tamis run" in told.stderr
