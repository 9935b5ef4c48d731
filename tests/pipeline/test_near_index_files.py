"""The files of a near-duplicate index: nothing damaged, foreign or half-made is ever read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from index_months import SURE, TEXTS, Month, against, drops, ids, known
from whole_runs import go

from operators.kernels import near_part as kernel
from pipeline import near_index_build as build
from pipeline.engine import Engine
from pipeline.errors import ConfigError, DataError
from pipeline.near_index import NearIndex, State, check_content, prune
from pipeline.near_similar import similar_documents


def test_prune_deletes_what_the_newest_version_does_not_need(tmp_path: Path) -> None:
    month = Month(tmp_path, "month", TEXTS[:40])
    month.run()
    month.add()
    month.run("nodes.fuzzy.threshold=0.68")
    new, index = month.add(), NearIndex(tmp_path / "known")
    index.store.commit("scratch/x/0.json", b"{}")
    with pytest.raises(ConfigError, match=r"documents are being added to .*known, or an addition was killed"):
        prune(index)
    index.store.delete("scratch")
    before = ids(tmp_path)
    assert prune(index) > 10_000
    assert prune(index) == 0
    assert (ids(tmp_path), index.state()) == (before, new.state)
    assert len(list((tmp_path / "known" / "parts").iterdir())) == 1
    check_content(known(tmp_path)[1].parts[0])


def test_two_at_once_cannot_lose_each_others_documents(tmp_path: Path) -> None:
    index = NearIndex(tmp_path / "known")
    empty = index.commit(State(), ())
    index.commit(empty, ("a" * 24,))
    with pytest.raises(ConfigError, match="changed meanwhile"):
        index.commit(empty, ("b" * 24,))


def test_an_index_of_another_scheme_says_what_differs(tmp_path: Path) -> None:
    month = Month(tmp_path, "month", TEXTS[:40])
    month.run()
    month.add()
    other = Month(
        tmp_path, "other", TEXTS[:40], fields=against().replace("ngram: 2", "ngram: 3, numbers: zero")
    )
    message = (
        r"\(ngram: 2 there, 3 here; numbers: keep there, zero here\); give the node ngram: 2, numbers: keep"
    )
    with pytest.raises(ConfigError, match=message):
        other.run()
    other.write(SURE.replace("ngram: 2", "ngram: 3"))
    other.run()
    with pytest.raises(ConfigError, match="ngram: 2 there, 3 here"):
        other.add()


def test_an_index_of_another_version_of_tamis(tmp_path: Path) -> None:
    month = Month(tmp_path, "month", TEXTS[:40])
    month.run()
    path = tmp_path / "known" / "parts" / f"{month.add().part}.json"
    record = json.loads(path.read_text())
    record["signing"]["scheme"] += "-old"
    path.write_text(json.dumps(record))
    with pytest.raises(ConfigError, match="another version of tamis made it, build it anew"):
        Month(tmp_path, "other", TEXTS[:40], fields=against()).run()
    with pytest.raises(DataError, match="this version of tamis makes others"):
        similar_documents(known(tmp_path)[1], "a text", 5, 0.5)
    record["format"] = "another"
    path.write_text(json.dumps(record))
    with pytest.raises(DataError, match="no part of a near-duplicate index of this version"):
        known(tmp_path)


@pytest.mark.parametrize("what", ["docs", "sketch", "keys"])
@pytest.mark.parametrize("how", ["missing", "truncated", "changed"])
def test_damaged_files_are_named(tmp_path: Path, what: str, how: str) -> None:
    month = Month(tmp_path, "month", TEXTS[:40])
    month.run()
    month.add()
    part = known(tmp_path)[1].parts[0]
    name = part.record["keys"][0]["file"] if what == "keys" else part.record["docs"][0][what]
    path = tmp_path / "known" / "data" / name
    data = path.read_bytes()
    path.unlink()
    if how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    if how == "changed":
        path.write_bytes(bytes(len(data)))
        with pytest.raises(DataError, match=f"{name} does not match its name: the index is damaged"):
            check_content(part)
    other = Month(tmp_path, "other", TEXTS[:40], fields=against())
    message = {"missing": "is missing", "truncated": "has not its", "changed": "does not match its name"}[how]
    with pytest.raises(
        DataError, match=f"{name}.* {message}.*the index is damaged; restore the file from a copy"
    ):
        other.run()


def test_a_damaged_version_and_a_missing_part(tmp_path: Path) -> None:
    month = Month(tmp_path, "month", TEXTS[:40])
    month.run()
    added = month.add()
    index = NearIndex(tmp_path / "known")
    version = tmp_path / "known" / "versions" / "000001.json"
    text = version.read_text()
    version.write_text(text[:-4])
    with pytest.raises(DataError, match=r"000001.json cannot be read .*the version before it is whole"):
        index.existing()
    version.write_text(text)
    (tmp_path / "known" / "parts" / f"{added.part}.json").unlink()
    with pytest.raises(DataError, match="cannot be read as a part of a near-duplicate index"):
        index.open(index.existing())
    with pytest.raises(ConfigError, match="is no near-duplicate index; make one with"):
        NearIndex(tmp_path / "nothing").existing()
    with pytest.raises(ConfigError, match="copy it to a folder"):
        NearIndex("s3://bucket/index")


def test_a_kill_in_the_middle_leaves_the_old_index_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Month(tmp_path, "first", TEXTS[:40])
    first.run()
    before = first.add().state
    second = Month(tmp_path, "second", TEXTS[40:80], fields=against())
    second.run()
    monkeypatch.setattr(build, "merge_keys", killed)
    with pytest.raises(KeyboardInterrupt):
        second.add(Plain())
    assert known(tmp_path)[0].existing() == before
    assert (tmp_path / "known" / "scratch").exists()
    monkeypatch.undo()
    monkeypatch.setattr(build, "_documents", killed)  # the shard is done: it is not written again
    assert second.add().state.parts[:1] == before.parts
    assert not any((tmp_path / "known" / "scratch").rglob("*.json"))


def killed(*_: Any) -> int:
    raise KeyboardInterrupt


class Plain:
    """Runs tasks here, and lets every exception through."""

    name, fetched_bytes, workers = "plain", 0, 1

    def run(self, fn: Any, context: Any, tasks: Any) -> Any:
        return ((i, fn(context, task)) for i, task in enumerate(tasks))

    def check_store(self, store: Any) -> None:
        """It is this process's."""


def test_ranges_shards_and_chunks_do_not_change_what_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same documents in one file of keys and in many, in one shard and in several."""
    found = []
    for cut in (False, True):
        folder = tmp_path / str(cut)
        month = Month(folder, "month", TEXTS[:100])
        if cut:
            monkeypatch.setattr(build, "RANGE_BYTES", 20_000)
            monkeypatch.setattr(build, "CHUNK_BYTES", 100)
            monkeypatch.setattr(kernel, "_PAIRS", 50)
            table = pq.ParquetFile(folder / "month" / "d.parquet").read()
            pq.write_table(table, folder / "month" / "d.parquet", row_group_size=7)
            month.config.write_text(month.config.read_text().replace("id: id", "id: id, shard_bytes: 1"))
        month.run()
        month.add()
        part = known(folder)[1].parts[0]
        assert (len(part.docs) > 10, part.range_bits > 2) == (cut, cut)
        other = Month(folder, "other", TEXTS[100:], fields=against())
        data = other.run()
        found.append((ids(folder), other.kept(), [s["evidence"] for s in data["samples"]]))
    assert found[0] == found[1]


@pytest.mark.ray
def test_ray_builds_the_same_index_and_finds_the_same(tmp_path: Path, ray_engine: Engine) -> None:
    states, kept = [], []
    for name in ("here", "there"):
        folder = tmp_path / name
        ray = name == "there"
        first = Month(folder, "first", TEXTS[:80])
        first.config.write_text(first.config.read_text().replace("id: id", "id: id, shard_bytes: 1"))
        first.run()
        states.append(first.add(ray_engine if ray else None).state)
        second = Month(folder, "second", TEXTS[80:], fields=against())
        go(second.config, engine="ray" if ray else "local")
        kept.append(second.kept())
    assert states[0] == states[1]
    assert kept[0] == kept[1]
    assert 0 < len(kept[0]) < 80


def test_an_index_moves_as_a_folder(tmp_path: Path) -> None:
    month = Month(tmp_path, "month", TEXTS[:40])
    month.run()
    month.add()
    shutil.move(tmp_path / "known", tmp_path / "moved")
    other = Month(tmp_path, "other", TEXTS[:40], fields=against("moved"))
    data = other.run()
    assert drops(data)["near_duplicate_of_index"] == sum(bool(text) for text in TEXTS[:40])
    other.write(against("moved", "./moved"))  # one index twice is one
    assert sum(n["computed_rows"] for n in other.run()["nodes"]) == 0
