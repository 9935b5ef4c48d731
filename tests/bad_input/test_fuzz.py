"""Mutated configs and data files: the right result or an error with a place, never anything else."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from bad_input.file_kinds import arrow, parquet, zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from source_files import jsonl
from whole_runs import read_export

from pipeline.cli import main

# The long profile: TAMIS_FUZZ examples a test, other ones in each run.
MANY = int(os.environ.get("TAMIS_FUZZ", "3000"))
QUICK = settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
LONG = settings(QUICK, max_examples=MANY, derandomize=False, print_blob=True)

TEXTS = [f"text number {i}, é{'x' * (i % 7)}" for i in range(40)]
ROWS = [{"id": f"d{i}", "text": text, "n": i} for i, text in enumerate(TEXTS)]
TABLE = pa.table({"id": [r["id"] for r in ROWS], "text": TEXTS, "n": list(range(40))})
CSV = ("id,text,n\n" + "".join(f'{r["id"]},"{r["text"]}",{r["n"]}\n' for r in ROWS)).encode()
FILES: dict[str, bytes] = {
    "a.parquet": parquet(TABLE),
    "a.arrow": arrow(TABLE),
    "a.jsonl": jsonl(ROWS),
    "a.jsonl.gz": gzip.compress(jsonl(ROWS), mtime=0),
    "a.jsonl.zst": zstd(jsonl(ROWS)),
    "a.csv": CSV,
}
CONFIG: dict[str, Any] = {
    "source": {"path": "a.parquet", "text": "text", "id": "id", "schema": {"n": "int64"}},
    "seed": 7,
    "nodes": {
        "exact": {"op": "exact_dedup"},
        "long": {"op": "length_filter", "input": "exact", "min": 1, "max": 1000, "resources": {"workers": 1}},
        "pick": {"op": "undersample", "input": ["long"], "keep_rows": 5},
    },
    "export": {"input": "pick", "path": "out", "format": "parquet", "file_bytes": "1MB"},
}
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["exact", "pick", "source", "text", "../x", "${X}", "1e400", "~", "size", ".tamis"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


def outcome(folder: Path, *commands: str) -> int:
    """Runs tamis in the folder; its exit code, after a look at what it said."""
    out, err, here = io.StringIO(), io.StringIO(), os.getcwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([*commands])
    finally:
        os.chdir(here)
    said = err.getvalue()
    assert code in (0, 2, 3, 4), said
    assert "Traceback" not in said
    if code:
        assert "error: " in said, said
        assert said.splitlines()[-1].startswith(("next: ", "resume with: ", "try again: ")), said
    return code


# Changes of a config: at a place found by walking, and of its text.


@st.composite
def changed_config(draw: st.DrawFn) -> bytes:
    value: Any = yaml.safe_load(yaml.safe_dump(CONFIG))
    for _ in range(draw(st.integers(1, 3))):
        change_at(draw, value)
    text = yaml.safe_dump(value, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass")
    return draw(st.one_of(st.just(text), damaged(text))) if draw(st.booleans()) else text


def change_at(draw: st.DrawFn, value: Any) -> None:
    """Deletes, renames, retypes or nests something inside the value."""
    holder = value
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        inner = holder[key]
        if isinstance(inner, dict | list) and inner and draw(st.booleans()):
            holder = inner
            continue
        how = draw(st.sampled_from(["delete", "rename", "retype", "nest"]))
        if how == "delete" or (how == "rename" and isinstance(holder, list)):
            del holder[key]
        elif how == "rename":
            holder[draw(st.text(max_size=8))] = holder.pop(key)
        elif how == "retype":
            holder[key] = draw(VALUES)
        else:
            for _ in range(draw(st.integers(1, 90))):
                inner = [inner]
            holder[key] = inner
        return


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Bits flipped, bytes cut out, put in or doubled, or the rest cut off."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(1, 64))
        match draw(st.sampled_from(["flip", "cut", "insert", "splice", "truncate"])):
            case "flip" if data:
                data = data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]
            case "cut":
                data = data[:at] + data[at + length :]
            case "insert":
                data = data[:at] + draw(st.binary(min_size=1, max_size=8)) + data[at:]
            case "splice":
                other = draw(st.integers(0, max(0, len(data) - 1)))
                data = data[:at] + data[other : other + length] + data[at:]
            case _:
                data = data[:at]
    return data


def check_config(text: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(TABLE, folder / "a.parquet")
        (folder / "c.yaml").write_bytes(text)
        outcome(folder, "plan", "c.yaml")


def check_file(name: str, data: bytes) -> None:
    """A run over the file ends well with books that balance, or with an error that names the file."""
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        (folder / name).write_bytes(data)
        nodes = "nodes: {exact: {op: exact_dedup}}\nexport: {path: out, dropped: gone}\n"
        (folder / "c.yaml").write_text(f"source: {{path: {name}, id: id}}\n{nodes}")
        if outcome(folder, "run", "c.yaml", "--workers", "1", "--plain") == 0:
            assert len(read_export(folder / "out")) + len(read_export(folder / "gone")) == rows_in(folder)


def rows_in(folder: Path) -> int:
    import json

    found = json.loads(next((folder / ".tamis" / "runs").glob("*/run.json")).read_text())
    return int(found["source"]["rows"])


@QUICK
@given(changed_config())
def test_configs(text: bytes) -> None:
    check_config(text)


@pytest.mark.parametrize("name", FILES)
def test_files(name: str) -> None:
    fuzzed(settings(QUICK, max_examples=6), damaged(FILES[name]), lambda data: check_file(name, data))


@pytest.mark.slow
def test_many_configs() -> None:
    fuzzed(LONG, changed_config(), check_config)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_many_files(name: str) -> None:
    fuzzed(LONG, damaged(FILES[name]), lambda data: check_file(name, data))


def fuzzed(how: settings, what: st.SearchStrategy[bytes], check: Callable[[bytes], None]) -> None:
    @how
    @given(what)
    def tried(data: bytes) -> None:
        check(data)

    tried()
