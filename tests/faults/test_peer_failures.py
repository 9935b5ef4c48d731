"""What silently loses or wrongly removes documents in other tools, a test for each, end to end; row 5, an
index that removes only the first of several copies, has its test with the indexes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from whole_runs import (
    births,
    corpus,
    documents,
    go,
    nodes_of,
    plan_text,
    read_export,
    write_config,
    write_cut,
)

from pipeline.cli import main
from pipeline.engine import Engine

DYING = '''
from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from operators.contract import DROP, TEXT, Adds, Columns, Emission, Reads, ShuffleOp, Uses, drop_column


class DyingDedup(ShuffleOp):
    """Keeps the first of equal texts, and kills its own process once in each stage."""

    marks: str
    """The folder that remembers which stages have died."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT, "uid": pa.int64()}

    @property
    def adds(self) -> Adds:
        return {"drop": DROP}

    @property
    def emits(self) -> Adds:
        return {}

    @property
    def replies(self) -> Adds:
        return {"first": pa.int64()}

    def die(self, stage: str) -> None:
        try:
            Path(self.marks, stage).touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        if batch.column("uid")[0].as_py() >= 500:  # other shards and other batches were sent before
            self.die("emit")
        key = [int.from_bytes(t.encode()[:8].ljust(8), "big") for t in batch.column("text").to_pylist()]
        return Emission(np.arange(len(key)), np.array(key, np.uint64))

    def reply(self, messages: Iterator[pa.RecordBatch]) -> Iterator[Columns]:
        last = first = None
        for batch in messages:
            found = []
            pairs = zip(batch.column("key").to_pylist(), batch.column("uid").to_pylist(), strict=True)
            for key, uid in pairs:
                if key != last:
                    last, first = key, uid
                found.append(first)
            yield {"first": pa.array(found, pa.int64())}
        self.die("reply")  # everything is answered, nothing is committed

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        if batch.column("uid")[0].as_py() >= 250:
            self.die("columns")
        gone = np.asarray(replies.column("first")) != np.asarray(batch.column("uid"))
        return {"drop": drop_column(np.where(gone, 0, -1), ["duplicate"])}
'''

WATCHED = """
import sys
from pipeline.cli import main

def watch(event, arguments):
    if event in ("subprocess.Popen", "os.system", "os.posix_spawn", "os.exec", "os.fork", "socket.connect"):
        raise AssertionError(f"{event} {arguments}")

sys.addaudithook(watch)
code = main(["run", sys.argv[1], "--plain", "--store", sys.argv[2]])
sys.exit(code or ("torch" in sys.modules) or ("ray" in sys.modules))
"""


def ids(folder: Path) -> set[str]:
    return {row["id"] for row in read_export(folder)}


def deduplicated(folder: Path, texts: list[str], **fields: Any) -> set[int]:
    """The numbers of the texts that minhash_dedup keeps."""
    write_cut(folder / "in", documents(texts), files=2)
    options = "".join(f", {name}: {value}" for name, value in fields.items())
    nodes = f"nodes: {{fuzzy: {{op: minhash_dedup{options}}}}}"
    config = f"source: {{path: in, id: id}}\n{nodes}\nexport: {{path: out}}\n"
    go(write_config(folder, config))
    return {int(id.removeprefix("doc-")) for id in ids(folder / "out")}


@pytest.mark.ray
def test_row_1_a_worker_that_dies_after_it_pushed_its_messages_leaves_no_phantoms(
    tmp_path: Path, ray_engine: Engine
) -> None:
    (tmp_path / "marks").mkdir()
    unrelated = [f"{i:04d} text" for i in range(1000)]
    twins = [f"{i:04d} text" for i in range(0, 1000, 50)]
    write_cut(tmp_path / "in", documents(unrelated + twins), files=4)
    (tmp_path / "dying_dedup.py").write_text(DYING)
    text = f"""
        source: {{path: in, id: id, shard_bytes: 1}}
        nodes: {{once: {{op: ./dying_dedup.py, marks: {tmp_path}/marks}}}}
        export: {{path: out}}
    """
    data = go(write_config(tmp_path, text), engine="ray", batch_rows=100)
    assert {path.name for path in (tmp_path / "marks").iterdir()} == {"emit", "reply", "columns"}
    assert ids(tmp_path / "out") == {f"doc-{i}" for i in range(1000)}
    assert nodes_of(data)["once"]["dropped"] == {"duplicate": 20}


def test_row_2_distinct_short_documents_all_stay(tmp_path: Path) -> None:
    texts = [f"{a} {b}" for a in ("red", "green", "blue") for b in ("car", "house", "tree")] + [
        "red",
        "a b c d",
    ]
    assert deduplicated(tmp_path, texts, threshold=0.5) == set(range(len(texts)))


@pytest.mark.parametrize("on_error", ["stop", "quarantine"])
def test_row_3_one_bad_sample_in_1000_is_an_error_or_set_aside_alone(tmp_path: Path, on_error: str) -> None:
    source = """
from operators.contract import TEXT, MapOp


class Picky(MapOp):
    "Fails at one text."

    reads = property(lambda self: {"text": TEXT})
    adds = property(lambda self: {})

    def columns(self, batch, uses):
        if "bad" in batch.column("text").to_pylist():
            raise ValueError("bad")
        return {}
"""
    (tmp_path / "picky.py").write_text(source)
    write_cut(
        tmp_path / "in", documents([*map(str, range(500)), "bad", *map(str, range(501, 1000))]), files=1
    )
    nodes = f"nodes: {{p: {{op: ./picky.py, on_error: {on_error}}}}}"
    config = f"source: {{path: in, id: id}}\n{nodes}\nexport: {{path: out}}\n"
    code = main(["run", str(write_config(tmp_path, config))])
    if on_error == "stop":
        assert code == 3
        assert not (tmp_path / "out").exists()
    else:
        assert code == 0
        assert ids(tmp_path / "out") == {f"doc-{i}" for i in range(1000) if i != 500}


def test_rows_4_and_13_a_run_starts_no_installer_and_stores_the_same_in_every_process(tmp_path: Path) -> None:
    """No other program, no network, neither torch nor Ray; and the same bytes where Python seeds its own
    hashes otherwise (data files are named by their content)."""
    write_cut(tmp_path / "in", corpus(60), files=1)
    nodes = "nodes: {fuzzy: {op: minhash_dedup}}"
    config = write_config(
        tmp_path, f"source: {{path: in, id: id}}\n{nodes}\nexport: {{path: out, format: index}}\n"
    )
    stored = []
    for seed in ("1", "2"):
        store, given = tmp_path / f"store-{seed}", os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", WATCHED, str(config), str(store)], env=given, check=True)
        stored.append({str(path.relative_to(store)) for path in (store / "nodes").rglob("*.arrow")})
    assert stored[0] == stored[1]
    assert len(stored[0]) > 5


def test_row_6_short_copies_go_like_long_ones(tmp_path: Path) -> None:
    assert deduplicated(tmp_path, ["yes", "no", "yes", "two words", "two words", ""]) == {0, 1, 3, 5}


def test_row_7_tables_that_differ_only_in_numbers_both_stay(tmp_path: Path) -> None:
    tables = [" ".join(f"row {i} has value {i * factor}" for i in range(40)) for factor in (3, 7)]
    assert deduplicated(tmp_path, tables) == {0, 1}
    assert deduplicated(tmp_path / "zero", tables, numbers="zero") == {0}


def test_row_8_pairs_that_were_verified_apart_are_not_merged_again(tmp_path: Path) -> None:
    """Two pairs of near copies (J = 0.82), the pairs like each other (J = 0.54), bands that always meet."""
    shared = [f"shared{i}" for i in range(70)]

    def text(group: int, copy: int) -> str:
        return " ".join(
            [*shared, *(f"g{group}x{i}" for i in range(20)), *(f"c{group}{copy}x{i}" for i in range(10))]
        )

    texts = [text(group, copy) for group in (0, 1) for copy in (0, 1)]
    assert deduplicated(tmp_path, texts, threshold=0.8, ngram=1, bands=64, rows=2) == {0, 2}


def test_row_9_documents_below_a_minimum_go_with_a_reason_and_never_vanish(tmp_path: Path) -> None:
    table = corpus(200)
    write_cut(tmp_path / "in", table, files=2)
    text = """
        source: {path: in, id: id}
        nodes: {long: {op: length_filter, unit: words, min: 20}, fuzzy: {op: minhash_dedup}}
        export: {path: out, dropped: gone}
    """
    go(write_config(tmp_path, text))
    gone = {row["id"]: row for row in read_export(tmp_path / "gone")}
    assert ids(tmp_path / "out") | gone.keys() == set(table["id"].to_pylist())
    short = [row for row in gone.values() if row["dropped_by"] == "long"]
    assert len(short) > 20
    assert all(row["reason"] == "too_short" and len(row["text"].split()) < 20 for row in short)


def test_row_10_a_changed_list_of_files_never_removes_other_documents(tmp_path: Path) -> None:
    """The second run finds the verdicts of the first by content, wherever the files lie then."""
    texts = ["a", "b", "a", "c", "d", "c", "e", "f"]
    write_cut(tmp_path / "in", documents(texts), files=4)
    text = "source: {path: in, id: id, shard_bytes: 1}\nnodes: {e: {op: exact_dedup}}\nexport: {path: out}\n"
    config = write_config(tmp_path, text)
    go(config)
    assert ids(tmp_path / "out") == {f"doc-{i}" for i in (0, 1, 3, 4, 6, 7)}
    (tmp_path / "in/part-000.parquet").rename(tmp_path / "in/part-009.parquet")
    assert main(["run", str(config)]) == 3
    assert ids(tmp_path / "out") == {f"doc-{i}" for i in (0, 1, 3, 4, 6, 7)}
    assert main(["run", str(config), "--accept-source"]) == 0
    assert ids(tmp_path / "out") == {
        f"doc-{i}" for i in (2, 3, 4, 6, 7, 1)
    }  # the file with doc-0 now comes last
    pq.write_table(pa.table({"id": ["new"], "text": ["f"]}), tmp_path / "in/part-000.parquet")
    assert main(["run", str(config)]) == 0
    assert ids(tmp_path / "out") == {f"doc-{i}" for i in (2, 3, 4, 6, 7, 1)}


@pytest.mark.ray
@pytest.mark.parametrize(("how", "code"), [("raise ValueError('no')", 3), ("os.kill(os.getpid(), 9)", 4)])
def test_row_11_a_task_that_never_succeeds_on_ray_ends_the_run_with_an_error(
    tmp_path: Path, ray_engine: Engine, how: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"""
import os

from operators.contract import TEXT, MapOp


class Doomed(MapOp):
    "Fails at one text."

    reads = property(lambda self: {{"text": TEXT}})
    adds = property(lambda self: {{}})

    def columns(self, batch, uses):
        if "bad" in batch.column("text").to_pylist():
            {how}
        return {{}}
"""
    (tmp_path / "doomed.py").write_text(source)
    write_cut(tmp_path / "in", documents(["a", "b", "bad", "c"]), files=4)
    text = "source: {path: in, id: id, shard_bytes: 1}\nnodes: {d: {op: ./doomed.py}}\nexport: {path: out}\n"
    assert main(["run", str(write_config(tmp_path, text)), "--engine", "ray"]) == code
    error = capsys.readouterr().err
    assert ("part-002.parquet:row 0: ValueError: no" if code == 3 else "died 6 times on task 3 of 4") in error
    assert not (tmp_path / "out").exists()


def test_row_12_planning_wipes_nothing_and_a_second_run_computes_nothing(tmp_path: Path) -> None:
    """And the copy that stays is no random one: the first, in every store."""
    write_cut(tmp_path / "in", corpus(300), files=3)
    text = "source: {path: in, id: id}\nnodes: {fuzzy: {op: minhash_dedup}}\nexport: {path: out}\n"
    config = write_config(tmp_path, text)
    first = nodes_of(go(config))
    made = births(tmp_path / ".tamis/nodes")
    plan_text(config, ["nodes.fuzzy.threshold=0.7"])
    again = nodes_of(go(config))
    assert births(tmp_path / ".tamis/nodes") == made
    assert {name: node["computed_rows"] for name, node in again.items()} == dict.fromkeys(again, 0)
    assert again["fuzzy"]["dropped"] == first["fuzzy"]["dropped"]
    stay = ids(tmp_path / "out")
    go(config, ["export.path=out-2"], store=str(tmp_path / "other"))
    assert ids(tmp_path / "out-2") == stay
    texts = {row["id"]: row["text"] for row in corpus(300).to_pylist()}
    for id, document in texts.items():
        copies = [other for other, text in texts.items() if text == document]
        assert id not in stay or copies[0] == id


def test_row_13_no_document_is_taken_for_the_end_of_a_group(tmp_path: Path) -> None:
    """Ids that others use as marks, and copies of the very first and the very last document."""
    names = ["0", "-1", "18446744073709551615", "4294967295", "9223372036854775807", "", "nan", "null"]
    texts = [f"{name} and so on for a few more words {name}" for name in "abcd"]
    table = pa.table({"id": names, "text": [*texts, texts[0], texts[3], texts[1], texts[3]]})
    write_cut(tmp_path / "in", table, files=4)
    nodes = "nodes: {fuzzy: {op: minhash_dedup}}"
    text = f"source: {{path: in, id: id}}\n{nodes}\nexport: {{path: out, dropped: gone}}\n"
    go(write_config(tmp_path, text))
    assert ids(tmp_path / "out") == set(names[:4])
    gone = {row["id"]: json.loads(row["evidence"]) for row in read_export(tmp_path / "gone")}
    assert {id: evidence["kept"] for id, evidence in gone.items()} == dict(
        zip(names[4:], [0, 3, 1, 3], strict=True)
    )
    assert {evidence["similarity"] for evidence in gone.values()} == {1.0}
