"""Input that is too big in one direction, a row of 200 MB or 100,000 files, and what may not be read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_input.kinds import config, docs

LIMIT_MB = 4000  # of memory for a run over a row of 200 MB
COMMAND = [sys.executable, "-m", "pipeline.cli"]


def measured(folder: Path, name: str) -> tuple[int, float, int]:
    """Exit code, seconds and peak MB of a command in a process of its own."""
    code = (
        "import resource, sys; from pipeline.cli import main; code = main(sys.argv[1:]);"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024;"
        "print('peak', peak, file=sys.stderr); sys.exit(code)"
    )
    began = time.monotonic()
    more = ["--plain", "--workers", "1"] if name == "run" else []
    done = subprocess.run(
        [sys.executable, "-c", code, name, "c.yaml", *more], cwd=folder, capture_output=True, text=True
    )
    peak = int(done.stderr.rsplit("peak ", 1)[1])
    print(f"{name}: exit {done.returncode}, {time.monotonic() - began:.1f} s, peak {peak} MB")
    assert done.returncode == 0, done.stderr
    return done.returncode, time.monotonic() - began, peak


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_a_row_of_200_mb(tmp_path: Path, ending: str) -> None:
    text = "word " * 40_000_000
    name = f"a.{ending}"
    if ending == "parquet":
        pq.write_table(docs(3, text=pa.array(["one", text, "two"], pa.large_string())), tmp_path / name)
    elif ending == "jsonl":
        rows = [{"id": f"d{i}", "text": t} for i, t in enumerate(["one", text, "two"])]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        (tmp_path / name).write_text(f'id,text\nd0,one\nd1,"{text}"\nd2,two\n')
    (tmp_path / "c.yaml").write_text(config(f"{{path: {name}, id: id}}"))
    if ending == "csv":  # its rows may have 64 MiB
        code = subprocess.run(
            [*COMMAND, "run", "c.yaml", "--plain"], cwd=tmp_path, capture_output=True, text=True
        )
        assert code.returncode == 3
        assert f"{tmp_path}/a.csv" in code.stderr
        assert "64 MiB" in code.stderr
        return
    _, _, peak = measured(tmp_path, "run")
    assert peak < LIMIT_MB
    assert sum(pq.read_metadata(p).num_rows for p in (tmp_path / "out").glob("part-*")) == 3


@pytest.mark.slow
def test_100_000_tiny_files(tmp_path: Path) -> None:
    many = int(os.environ.get("TAMIS_TINY_FILES", "100000"))
    folder = tmp_path / "in"
    folder.mkdir()
    sink = pa.BufferOutputStream()
    pq.write_table(docs(1), sink)
    data = sink.getvalue().to_pybytes()
    for number in range(many):
        (folder / f"f{number:06d}.parquet").write_bytes(data)
    (tmp_path / "c.yaml").write_text(config("{path: in, id: id}", "nodes: {size: {op: size}}\n"))
    measured(tmp_path, "plan")


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv, as root may read everything")
@pytest.mark.parametrize("what", ["file", "folder", "store", "export"])
def test_no_permission(tmp_path: Path, what: str) -> None:
    """Also where root runs the tests: without the rights to pass over permissions."""
    for name in ("in", "made", "kept"):
        (tmp_path / name).mkdir()
    pq.write_table(docs(), tmp_path / "in" / "a.parquet")
    rest = "export: {path: made/out}\nstore: kept/.tamis\n"
    (tmp_path / "c.yaml").write_text(config("{path: in, id: id}", rest=rest))
    wrong = {"file": "in/a.parquet", "folder": "in", "store": "kept", "export": "made"}[what]
    (tmp_path / wrong).chmod(0o000 if what in ("file", "folder") else 0o555)
    plain = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*plain, *COMMAND, "run", "c.yaml", "--plain"], cwd=tmp_path, capture_output=True, text=True
    )
    (tmp_path / wrong).chmod(0o755)
    assert done.returncode == (3 if what == "file" else 2), done.stderr
    assert str(tmp_path / wrong) in done.stderr
    assert "Traceback" not in done.stderr
