"""Whole runs over small synthetic corpora, in this process, for the end-to-end tests."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import load_config
from pipeline.plan import make_plan
from pipeline.prepare import RunOptions
from pipeline.progress import Progress
from pipeline.run import run

WORDS = np.array([f"word{i}" for i in range(1500)])


def corpus(rows: int, seed: int = 0) -> pa.Table:
    """Documents of 1 to 60 words; a sixth each are exact and near copies of earlier ones."""
    rng = np.random.default_rng(seed)
    texts: list[str] = []
    for number in range(rows):
        kind, length = rng.random(), int(rng.integers(1, 60))
        if texts and kind < 0.16:
            texts.append(texts[rng.integers(len(texts))])
        elif texts and kind < 0.32:
            near = texts[rng.integers(len(texts))].split()
            near[-1] = f"other{number}"
            texts.append(" ".join(near))
        else:
            texts.append(" ".join(rng.choice(WORDS, size=length)))
    domains = rng.choice(["web", "wiki", "code"], size=rows, p=[0.6, 0.3, 0.1]).tolist()
    return documents(texts, domain=domains, score=rng.normal(size=rows))


def documents(texts: list[str], **columns: Any) -> pa.Table:
    """A corpus of these texts with ids doc-0, doc-1, ..."""
    return pa.table({"id": [f"doc-{i}" for i in range(len(texts))], "text": texts} | columns)


def write_cut(folder: Path, table: pa.Table, files: int, group: int = 1 << 20) -> None:
    """The table as so many Parquet files of nearly equal size, whose names sort in its order."""
    folder.mkdir(parents=True, exist_ok=True)
    bounds = [table.num_rows * i // files for i in range(files + 1)]
    for number, (low, high) in enumerate(pairwise(bounds)):
        path = folder / f"part-{number:03d}.parquet"
        pq.write_table(table.slice(low, high - low), path, row_group_size=group)


def write_config(folder: Path, text: str) -> Path:
    """`c.yaml` in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "c.yaml"
    path.write_text(dedent(text))
    return path


def go(config: Path, sets: Iterable[str] = (), **options: Any) -> dict[str, Any]:
    """Runs a config here; the run data. Ray means the session's cluster (the fixture `ray_engine`)."""
    return run(load_config(config, tuple(sets)), RunOptions(**options), Progress(quiet=True))


def plan_text(config: Path, sets: Iterable[str] = (), **options: Any) -> str:
    return make_plan(load_config(config, tuple(sets)), RunOptions(**options)).text()


def nodes_of(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {node["name"]: node for node in data["nodes"]}


def read_export(folder: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet, Arrow or JSONL.zst export in the order of its files."""
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("part-*")):
        if path.suffix == ".parquet":
            rows += pq.ParquetFile(path).read().to_pylist()
        elif path.suffix == ".arrow":
            rows += pa.ipc.open_file(pa.memory_map(str(path))).read_all().to_pylist()
        else:
            with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
                rows += [json.loads(line) for line in stream.read().splitlines()]
    return rows


def digests(folder: Path, *below: str) -> dict[str, str]:
    """The hash of every file in these folders, by name."""
    paths = [p for name in below or (".",) for p in (folder / name).rglob("*") if p.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def births(folder: Path) -> dict[str, tuple[int, int]]:
    """(inode, time of the last write) of every file, by name: a file that is written again differs."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            stat = path.stat()
            found[str(path.relative_to(folder))] = (stat.st_ino, stat.st_mtime_ns)
    return found


def tamis(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    """The command in a process of its own, in a group of its own, as a shell starts it."""
    command = [sys.executable, "-m", "pipeline.cli", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=os.environ | environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=_hear_ctrl_c,
    )  # fmt: skip


def _hear_ctrl_c() -> None:
    """A shell that starts the tests in the background has all that they start ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def kill_when(process: subprocess.Popen[bytes], ripe: Callable[[], bool], limit_s: float = 120) -> bool:
    """SIGKILL as soon as `ripe()`; False when the process ended before."""
    code, error = stop_when(process, ripe, signal.SIGKILL, limit_s)
    if code not in (0, -signal.SIGKILL):
        raise AssertionError(f"the run failed by itself ({code}):\n{error}")
    return code != 0


def stop_when(
    process: subprocess.Popen[bytes], ripe: Callable[[], bool], number: int, limit_s: float = 120
) -> tuple[int, str]:
    """That signal as soon as `ripe()`, SIGINT to all of the group, as a terminal does it; the exit code and
    what was said on stderr."""
    end = time.monotonic() + limit_s
    try:
        while process.poll() is None and time.monotonic() < end:
            if ripe():
                send = os.killpg if number == signal.SIGINT else os.kill
                send(process.pid, number)
                break
            time.sleep(0.002)
        error = process.communicate(timeout=max(1.0, end - time.monotonic()))[1]
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return process.returncode, error.decode()
