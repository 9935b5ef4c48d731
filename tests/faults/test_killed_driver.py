"""SIGKILL, SIGTERM and Ctrl-C at random moments: the next start ends with the same bytes, repeats nothing."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from whole_runs import births, corpus, digests, kill_when, stop_when, tamis, write_config, write_cut

ROWS, GROUP = 240, 30
DAG = """
    source: {path: in/*.parquet, text: text, id: id, shard_bytes: 1}
    seed: 7
    nodes:
      seen:  {op: ./log_rows.py}
      exact: {op: exact_dedup}
      long:  {op: length_filter, unit: words, min: 5}
      under: {op: undersample, by: domain, ratio: 0.5}
      order: {op: curriculum, difficulty: seen.words, pacing: root}
    export: {path: out/, format: parquet, columns: [seen.words], file_bytes: 4KB}
"""
LOGGING = '''
from __future__ import annotations

import os
import time

import pyarrow as pa
import pyarrow.compute as pc

from operators.contract import TEXT, Adds, Columns, MapOp, Reads, Uses


class LogRows(MapOp):
    """Counts words, slowly, and writes the ids that it saw to the file $LOG_ROWS."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT, "id": TEXT}

    @property
    def adds(self) -> Adds:
        return {"words": pa.int64()}

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        with open(os.environ["LOG_ROWS"], "ab", buffering=0) as log:
            log.write("".join(f"{id}\\n" for id in batch.column("id").to_pylist()).encode())
        time.sleep(0.05)
        words = pc.list_value_length(pc.utf8_split_whitespace(batch.column("text")))
        return {"words": pc.cast(words, pa.int64())}
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_cut(tmp_path / "in", corpus(ROWS), files=2, group=GROUP)
    (tmp_path / "log_rows.py").write_text(LOGGING)
    write_config(tmp_path, DAG)
    return tmp_path


def done(folder: Path) -> int:
    """How far a run is: the records in the store and the files of the export."""
    tops = (folder / ".tamis/nodes", folder / ".tamis/exports", folder / "out")
    names = [name for top in tops for _, _, files in os.walk(top) for name in files]
    return sum(name.endswith(".json") or name.startswith("part-") for name in names)


def state(folder: Path) -> dict[str, str]:
    return digests(folder, ".tamis/nodes", ".tamis/manifests", "out")


def run_killed(folder: Path, engine: str, at: list[int]) -> int:
    """Starts the run again and again, killed once so much is done; how often it was."""
    arguments = ("run", "c.yaml", "--engine", engine, "--workers", "2")
    if engine == "ray":
        arguments += ("--address", "local")
    kills = 0
    for moment in [*at, 10**9]:
        process = tamis(folder, *arguments, LOG_ROWS=str(folder / "log"))
        before = births(folder / ".tamis/nodes")
        killed = kill_when(process, lambda: done(folder) >= moment)  # noqa: B023
        kills += killed
        after = births(folder / ".tamis/nodes")
        again = [name for name in before.keys() & after.keys() if before[name] != after[name]]
        assert not again, "committed work was written again"
    return kills


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.slow])])
def test_three_kills_leave_the_same_store_and_export(folder: Path, engine: str) -> None:
    assert run_killed(folder, engine, []) == 0
    undisturbed, most = state(folder), done(folder)
    assert Counter((folder / "log").read_text().split()).most_common(1)[0][1] == 1
    for name in (".tamis", "out"):
        shutil.rmtree(folder / name)
    (folder / "log").unlink()
    moments = sorted(random.Random(engine).sample(range(2, most), 3))
    assert run_killed(folder, engine, moments) == 3
    assert state(folder) == undisturbed
    times = Counter((folder / "log").read_text().split())
    assert len(times) == ROWS
    # A kill costs what was in flight: at most one shard a worker.
    assert sum(n - 1 for n in times.values()) <= 3 * 2 * GROUP


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.slow])])
def test_whoever_is_asked_to_end_says_how_to_go_on_and_goes_on(folder: Path, engine: str) -> None:
    command = ["run", "c.yaml", "--engine", engine, "--workers", "2"]
    if engine == "ray":
        command += ["--address", "local"]

    def start() -> subprocess.Popen[bytes]:
        return tamis(folder, *command, LOG_ROWS=str(folder / "log"))

    for number in (signal.SIGINT, signal.SIGTERM):
        moment = done(folder) + 2
        code, said = stop_when(start(), lambda: done(folder) >= moment, number)  # noqa: B023
        assert code == 4, said
        assert said.splitlines()[-2:] == [
            "error: interrupted; what is finished is kept: run the same command again",
            f"resume with: tamis {' '.join(command)}",
        ]
    assert not kill_when(start(), lambda: False)
    interrupted = state(folder)
    times = Counter((folder / "log").read_text().split())
    assert len(times) == ROWS
    assert sum(n - 1 for n in times.values()) <= 2 * 2 * GROUP
    for name in (".tamis", "out"):
        shutil.rmtree(folder / name)
    assert not kill_when(start(), lambda: False)
    assert state(folder) == interrupted
