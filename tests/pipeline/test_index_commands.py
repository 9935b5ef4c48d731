"""`tamis index` and `tamis similar`: what they print, their exit codes, and what others can read."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from near_corpora import jaccard

from operators.kernels.minhash import permutation_factors, reference
from pipeline.cli import main
from pipeline.near_export import minima, query_minhash
from pipeline.near_index import NearIndex, signature_from

STORY = "the quick brown fox jumps over the lazy dog and runs far away from the hounds of winter"
TEXTS = [
    STORY,
    STORY.replace("fox", "wolf"),
    STORY.replace("winter", "autumn and rain"),
    "a text of its own kind",
]
CONFIG = "source: {{path: {}.parquet, id: id}}\nnodes: {{fuzzy: {{op: minhash_dedup, threshold: 0.9, {}}}}}\n"
SURE = "ngram: 1, bands: 64, rows: 2"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an index `known` of four documents."""
    table = pa.table({"id": [f"d{i}" for i in range(len(TEXTS))], "text": TEXTS})
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "a.yaml").write_text(CONFIG.format("a", SURE))
    monkeypatch.chdir(tmp_path)
    assert main(["run", "a.yaml", "--plain"]) == 0
    assert main(["index", "add", "known", "--config", "a.yaml"]) == 0
    return tmp_path


def test_add_and_info(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "add", "known"]) == 0
    assert "has these 4 documents already; nothing changed" in capsys.readouterr().out
    assert main(["index", "info", "known", "--check"]) == 0
    out = capsys.readouterr().out
    assert "known, version 1: 4 documents in 1 parts" in out
    assert "bytes a document" in out
    assert "4 documents of a," in out
    assert "scheme: " in out
    assert "every file has the content that it was written with" in out


def test_new_add_and_what_is_against_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "new", "months"]) == 0
    assert main(["index", "new", "months"]) == 2
    assert "is an index already" in capsys.readouterr().err
    table = pa.table({"id": ["x", "y", "z"], "text": [STORY.upper(), "new words in here", "..."]})
    pq.write_table(table, folder / "b.parquet")
    (folder / "b.yaml").write_text(CONFIG.format("b", f"{SURE}, against: [known, months]"))
    assert main(["plan", "b.yaml"]) == 0
    assert "fuzzy/lookup" in capsys.readouterr().out
    assert main(["run", "b.yaml", "--plain"]) == 0
    assert "near_duplicate_of_index 1" in capsys.readouterr().out
    assert main(["why", "--config", "b.yaml", "last", "x"]) == 0
    out = capsys.readouterr().out
    assert "fuzzy/against: DROPPED, near_duplicate_of_index" in out
    assert '"kept_id": "d0", "kept_source": "a", "similarity": 1.0' in out
    assert main(["index", "add", "months", "--config", "b.yaml", "--node", "fuzzy"]) == 0
    out = capsys.readouterr().out
    assert "added 1 documents" in out
    assert "1 kept documents have nothing to compare" in out


def test_an_index_may_be_named_by_any_path_to_it(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "link").symlink_to("known")
    table = pa.table({"id": ["x", "y"], "text": [STORY.upper(), "new words in here"]})
    for name, path in (("b", "sub/../known"), ("c", "link")):
        pq.write_table(table.slice(0, 2 if name == "b" else 1), folder / f"{name}.parquet")
        (folder / f"{name}.yaml").write_text(CONFIG.format(name, f"{SURE}, against: [{path}]"))
        assert main(["run", f"{name}.yaml", "--plain"]) == 0
        assert main(["index", "add", path, "--config", f"{name}.yaml"]) == 0


def test_add_says_what_is_wrong(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "add", "known", "no-such-run", "--config", "a.yaml"]) == 2
    assert "no run 'no-such-run'" in capsys.readouterr().err
    (folder / "c.yaml").write_text("source: {path: a.parquet, id: id}\nnodes: {e: {op: exact_dedup}}\n")
    assert main(["run", "c.yaml", "--plain"]) == 0
    assert main(["index", "add", "known", "--config", "c.yaml"]) == 2
    assert "0 minhash_dedup nodes (none); say which with --node" in capsys.readouterr().err
    assert main(["index", "add", "known", "--config", "c.yaml", "--node", "e"]) == 2
    assert "exact_dedup makes no signatures" in capsys.readouterr().err
    assert main(["index", "info", "nothing"]) == 2
    assert "is no near-duplicate index" in capsys.readouterr().err


def test_similar_documents_come_nearest_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = STORY.replace("lazy", "old")
    want = sorted(
        ((round(jaccard(text, other, 1), 4), f"d{i}") for i, other in enumerate(TEXTS)), reverse=True
    )
    capsys.readouterr()
    assert main(["similar", text, "--index", "known", "--threshold", "0.1"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(float(line[0]), line[1]) for line in lines] == [(s, name) for s, name in want if s >= 0.1]
    assert lines[0][2:6] == ["(a)", "the", "quick", "brown"]
    (folder / "t.txt").write_text(text)
    assert main(["similar", "--file", "t.txt", "--index", "known", "--top", "1"]) == 0
    assert capsys.readouterr().out.split()[1] == want[0][1]
    assert main(["similar", "nothing like it", "--index", "known"]) == 0
    assert "no indexed document with a Jaccard index of 0.5 or more" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["a text"], 2, "--index"),
        (["a text", "--index", "nothing"], 2, "is no near-duplicate index"),
        (["--index", "known"], 2, "give a text, or a file of it with --file"),
        (["a text", "--file", "t.txt", "--index", "known"], 2, "give a text, or a file of it with --file"),
        (["--file", "t.txt", "--index", "known"], 3, "t.txt: No such file"),
        (["a text", "--index", "known", "--threshold", "2"], 2, "not a number from 0 to 1"),
    ],
)
def test_similar_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    argv: list[str], code: int, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["similar", *argv]) == code
    assert message in capsys.readouterr().err


def test_datasketch_finds_what_shares_a_band(folder: Path) -> None:
    pytest.importorskip("datasketch")
    assert main(["index", "export", "known", "--to", "datasketch", "known.pkl"]) == 0
    lsh = pickle.loads((folder / "known.pkl").read_bytes())
    assert (lsh.b, lsh.r, lsh.h) == (64, 2, 128)
    index = NearIndex("known").open(NearIndex("known").existing())
    for i, text in enumerate(TEXTS):
        assert f"d{i}" in lsh.query(query_minhash(index, text))
    assert lsh.query(query_minhash(index, "nothing like it")) == []
    one, two = (query_minhash(index, text) for text in TEXTS[:2])
    assert one.jaccard(two) == pytest.approx(jaccard(TEXTS[0], TEXTS[1], 1), abs=0.12)


def test_the_exported_minima_are_true_ones(folder: Path) -> None:
    index = NearIndex("known").open(NearIndex("known").existing())
    signature = signature_from(index.parts[0], "known")
    ((docs, chunk, there),) = index.chunks()
    assert (docs.source, there.tolist()) == ("a", [True] * 4)
    shingles = chunk.hashes[chunk.offsets[1] : chunk.offsets[2]]
    factors = permutation_factors(signature.seed, signature.permutations)
    values = minima(signature, shingles)
    assert values.tolist() == reference(set(shingles.tolist()), factors)
    bytes_ = (values * np.uint32(0x9E3779B1) >> np.uint32(24)).astype(np.uint8)
    assert bytes_.tobytes() == docs.signature[1].tobytes()


def test_an_index_in_redis(folder: Path) -> None:
    fakeredis = pytest.importorskip("fakeredis")
    pytest.importorskip("datasketch")
    server = fakeredis.TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        where = f"127.0.0.1:{server.server_address[1]}"
        for _ in range(2):  # again: tables of its own
            assert main(["index", "export", "known", "--to", "datasketch", "r.pkl", "--redis", where]) == 0
        lsh = pickle.loads((folder / "r.pkl").read_bytes())
        index = NearIndex("known").open(NearIndex("known").existing())
        assert lsh.query(query_minhash(index, TEXTS[3])) == ["d3"]
    finally:
        server.shutdown()
        server.server_close()


def test_export_says_what_is_wrong(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", "export", "known", "--to", "faiss", "x"]) == 2
    assert "--to faiss: no such tool; there is datasketch" in capsys.readouterr().err
    assert main(["index", "export", "known", "--to", "datasketch", "x.pkl", "--redis", "here"]) == 2
    assert "name the server as HOST:PORT" in capsys.readouterr().err
    table = pa.table({"id": ["d0"], "text": ["something of another source"]})
    pq.write_table(table, folder / "b.parquet")
    (folder / "b.yaml").write_text(CONFIG.format("b", SURE))
    assert main(["run", "b.yaml", "--plain"]) == 0
    assert main(["index", "add", "known", "--config", "b.yaml"]) == 0
    assert main(["index", "export", "known", "--to", "datasketch", "x.pkl"]) == 2
    assert "two documents of the index have the id 'd0'" in capsys.readouterr().err
    assert not [name for name in os.listdir() if "x.pkl" in name]
    monkeypatch.setitem(sys.modules, "datasketch", None)
    assert main(["index", "export", "known", "--to", "datasketch", "x.pkl"]) == 2
    assert "pip install 'tamis[index]'" in capsys.readouterr().err
