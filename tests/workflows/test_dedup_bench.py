"""The deduplication benchmark measures, judges and lists as it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from near_corpora import corpus as near_corpus
from near_corpora import ngrams

from workflows.bench import dedup, measure, tables
from workflows.bench.contest import PEERS, Contest, Corpus, Peer
from workflows.bench.peers.task import Task, shingles

BALLAST_BYTES = 200_000_000


def write_corpus(path: Path, texts: list[str | None]) -> Path:
    ids = [f"d{k}" for k in range(len(texts))]
    pq.write_table(pa.table({"id": ids, "text": pa.array(texts, pa.string())}), path)
    return path


def cost_of(folder: Path, program: str) -> dict[str, Any]:
    """What `measure` says about a Python program."""
    command = [
        sys.executable,
        "-S",
        str(measure.__file__),
        str(folder / "cost.json"),
        str(folder / "log.txt"),
    ]
    subprocess.run([*command, sys.executable, "-S", "-c", program], check=True)
    found: dict[str, Any] = json.loads((folder / "cost.json").read_text())
    return found


def test_the_peak_is_not_that_of_the_parent(tmp_path: Path) -> None:
    ballast = bytearray(b"x") * BALLAST_BYTES  # written to, so that it is resident
    assert cost_of(tmp_path, "pass")["peak_bytes"] < 100e6 < len(ballast)
    assert cost_of(tmp_path, "x = bytearray(b'x') * 100_000_000")["peak_bytes"] > 100e6


def test_cpu_seconds_include_those_of_children(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {burn!r}])"
    assert 0.3 <= cost_of(tmp_path, program)["cpu_s"] < 5


def test_output_and_exit_code_are_kept(tmp_path: Path) -> None:
    assert cost_of(tmp_path, "import sys; print('why'); sys.exit('because')")["exit"] == 1
    assert (tmp_path / "log.txt").read_text().split() == ["why", "because"]


def test_peers_shingle_as_the_truth_does() -> None:
    for text in ["", "a", "A b c d e", *near_corpus(1, 30), "Ünï-códe x_1 2 3 4 5 ... 6"]:
        assert {tuple(gram.split()) for gram in shingles(text)} == (ngrams(text, 5) or {()})


def test_a_task_reads_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_corpus(tmp_path / "c.parquet", ["a", "b", "c"])
    monkeypatch.setattr(sys, "argv", ["run", str(path), str(tmp_path / "kept"), str(tmp_path), "0.8", "2"])
    task = Task.from_command_line()
    assert list(task.documents()) == [(["d0", "d1", "d2"], ["a", "b", "c"])]
    assert (task.threshold, task.workers) == (0.8, 2)
    task.write(["d2"])
    assert pq.ParquetFile(task.kept).read().to_pylist() == [{"id": "d2"}]


def test_a_peer_that_is_missing_or_fails_is_listed(tmp_path: Path) -> None:
    contest = Contest(tmp_path, 0.8, {}, 1)
    corpus = Corpus("c", write_corpus(tmp_path / "c.parquet", ["a b"]), 1, 3e-6)
    missing = contest.run(Peer("rensa", "no-such-package", ""), corpus, 1)
    assert missing["error"].startswith("no-such-package is not installed")
    fails = contest.run(Peer("nobody", "numpy", ""), corpus, 1)
    assert "No module named workflows.bench.peers.run_nobody" in fails["error"]
    assert fails["cpu_s"] > 0
    text = tables.compared([missing, fails], {})
    assert "rensa" in text
    assert "nobody" in text


def result(peer: str, megabytes: float, cpu_s: float, workers: int = 1) -> dict[str, Any]:
    judged = {"removed": 10, "wrong": 1, "far": 0, "alone": 2, "pairs": 8, "lost": 4}
    facts = {"peer": peer, "version": "1", "corpus": f"c{megabytes}", "documents": int(megabytes * 100)}
    cost = {"megabytes": megabytes, "workers": workers, "cpu_s": cpu_s, "wall_s": cpu_s, "peak_bytes": 10**8}
    return {**facts, **cost, "judged": judged}


def test_margins_are_extra_seconds_over_extra_megabytes() -> None:
    runs = [result("tamis", 100, 2), result("tamis", 400, 5), result("tamis", 800, 9)]
    runs += [result("rensa", 100, 10), result("rensa", 800, 80), {**result("gaoya", 1, 1), "error": "no"}]
    ours, rensa = tables.margins(runs)
    assert ours["cpu_s_for_100_mb"] == pytest.approx(1)
    assert rensa["cpu_s_for_100_mb"] == pytest.approx(10)
    assert rensa["times_tamis"] == pytest.approx(10)
    assert rensa["whole_times_tamis"] == pytest.approx(80 / 9)
    assert ours["peak_bytes_for_a_document"] == 0
    assert "| rensa" in tables.marginal([ours, rensa])


def test_tables_show_shares() -> None:
    row = tables.compared([result("tamis", 100, 2), result("rensa", 100, 10)], {"rensa": 0.5}).splitlines()[3]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2:8] == ["10.00", "0.50", "10.0", "10.0", "5.0", "100"]
    assert cells[8:] == ["10", "1 (10.0 %)", "0 (0.0 %)", "2 (20.0 %)", "4 of 8 (50.00 %)"]


def test_earlier_figures_stand_for_peers_that_did_not_run() -> None:
    before = [result("rensa", 100, 10), result("tamis", 100, 3), result("gaoya", 200, 10)]
    found = dedup.earlier(before, [result("tamis", 100, 2)])
    assert [(r["peer"], r["earlier"]) for r in found] == [("rensa", True)]
    assert "rensa (earlier)" in tables.scaled(found)


def test_the_fastest_peers_are_scaled() -> None:
    ran = [result("datasketch", 1, 9), result("gaoya", 1, 2), result("rensa", 1, 3), result("tamis", 1, 1)]
    ran.append({**result("datatrove", 1, 0.1), "error": "no"})
    assert [peer.name for peer in dedup.fastest(ran)] == ["tamis", "gaoya", "rensa"]


@pytest.mark.parametrize("arguments", [["--peers", "rensa,dedupe"], ["--python", "rensa"]])
def test_bad_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        dedup.main(["corpus", "out", *arguments])
    assert "datasketch" in capsys.readouterr().err


def whole_run(folder: Path, *arguments: str) -> dict[str, Any]:
    """The command on a corpus with an exact copy and a pair of J = 0.9; the figures."""
    words = [f"w{k}" for k in range(104)]
    near = [*words[:2], "other", *words[3:]]  # 3 of 100 shingles go and come: J = 97 / 103
    texts = [" ".join(words), "one two three four five six", " ".join(words), " ".join(near), "one two"]
    corpus = write_corpus(folder / "c.parquet", texts)
    dedup.main([str(corpus), str(folder / "out"), *arguments])
    figures: dict[str, Any] = json.loads((folder / "out" / "dedup.json").read_text())
    return figures


def test_a_peer_is_run_and_judged(tmp_path: Path) -> None:
    figures = whole_run(tmp_path, "--peers", "datasketch")
    (found,) = figures["compared"]
    assert found["judged"] == {"removed": 2, "wrong": 0, "far": 0, "alone": 0, "pairs": 3, "lost": 0}
    assert found["cpu_s"] > 0
    assert figures["start_cpu_s"].keys() == {"datasketch"}
    assert "| datasketch |" in (tmp_path / "out" / "dedup.md").read_text()


@pytest.mark.slow
def test_tamis_is_run_and_scaled(tmp_path: Path) -> None:
    """Through the command line, on built corpora too."""
    figures = whole_run(tmp_path, "--peers", "tamis", "--scale", "1,2", "--workers", "1,2")
    assert figures["compared"][0]["judged"]["removed"] == 2
    assert [(r["corpus"], r["workers"]) for r in figures["scaled"]] == [
        ("times-1", 1), ("times-1", 2), ("times-2", 1), ("times-2", 2),
    ]  # fmt: skip
    assert all(r["judged"]["wrong"] == 0 for r in figures["scaled"])
    assert [m["workers"] for m in figures["margins"]] == [1, 2]


def test_every_peer_has_a_program() -> None:
    folder = Path(dedup.__file__).parent / "peers"
    assert {f"run_{name.replace('-', '_')}.py" for name in PEERS} == {p.name for p in folder.glob("run_*.py")}
