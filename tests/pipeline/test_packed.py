"""The packed export: every token of every kept document, in its order, as sequences for trainers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers
from whole_runs import births, corpus, digests, documents, go, plan_text, read_export, write_config, write_cut

from pipeline import packed
from pipeline.errors import ConfigError
from pipeline.report import render
from pipeline.summary import print_summary
from pipeline.units import percent, short

MODEL = Path(__file__).parents[2] / "configs/quickstart/stories260K"
ROWS, SEQ_LEN, BOS, EOS = 300, 192, 1, 2
SETTINGS = f"format: packed, tokenizer: {MODEL}, seq_len: {SEQ_LEN}, file_bytes: 16KB"
DAG = f"""
    source: {{path: in, text: text, id: id, shard_bytes: 1}}
    seed: 7
    nodes:
      exact: {{op: exact_dedup}}
      long:  {{op: length_filter, unit: words, min: 5}}
      order: {{op: curriculum, difficulty: length, pacing: linear}}
    export:
      - {{path: plain/, file_bytes: 16KB}}
      - {{path: fit/, {SETTINGS}, window: 25, dropped: gone/}}
      - {{path: stream/, {SETTINGS}, packing: concatenate}}
      - {{path: unordered/, input: long, {SETTINGS}, labels: true}}
"""


def part_digests(folder: Path, name: str) -> dict[str, str]:
    return {file: digest for file, digest in digests(folder / name).items() if "part" in file}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run with an export of documents and three of sequences."""
    folder = tmp_path_factory.mktemp("packed")
    write_cut(folder / "in", corpus(ROWS), files=3)
    return folder, go(write_config(folder, DAG))


@pytest.fixture
def folder(done: tuple[Path, dict[str, Any]]) -> Path:
    return done[0]


def tokens_of(text: str) -> list[int]:
    """By the tokenizer's own package."""
    tokenizer = tokenizers.Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    return [BOS, *tokenizer.encode(text, add_special_tokens=False).ids]


def files(folder: Path) -> Iterator[list[dict[str, Any]]]:
    for path in sorted(folder.glob("part-*")):
        yield pq.ParquetFile(path).read().to_pylist()


def pieces(row: dict[str, Any]) -> list[tuple[int, int, list[int]]]:
    """(uid, start, tokens) of a sequence's pieces."""
    ends = np.cumsum(row["lengths"]).tolist()
    spans = zip(row["uids"], row["starts"], row["lengths"], ends, strict=True)
    return [(uid, start, row["input_ids"][end - size : end]) for uid, start, size, end in spans]


def whole(rows: list[dict[str, Any]]) -> dict[int, list[int]]:
    """uid -> the tokens that its pieces give together."""
    found: dict[int, dict[int, list[int]]] = {}
    for row in rows:
        for uid, start, ids in pieces(row):
            assert start not in found.setdefault(uid, {})
            found[uid][start] = ids
    joined = {}
    for uid, parts in found.items():
        joined[uid] = [token for _, ids in sorted(parts.items()) for token in ids]
        assert sorted(parts) == np.cumsum([0, *(len(parts[s]) for s in sorted(parts))])[:-1].tolist()
    return joined


@pytest.mark.parametrize("name", ["fit", "stream"])
def test_a_file_holds_the_documents_of_the_plain_export_token_for_token(folder: Path, name: str) -> None:
    plain, mine = list(files(folder / "plain")), list(files(folder / name))
    assert len(plain) == len(mine) > 2
    for documents_, sequences in zip(plain, mine, strict=True):
        wanted = {int(row["id"].removeprefix("doc-")): tokens_of(row["text"]) for row in documents_}
        assert whole(sequences) == wanted


def test_best_fit_cuts_only_what_is_longer_than_a_sequence(folder: Path) -> None:
    rows = read_export(folder / "fit")
    sizes = {uid: len(ids) for uid, ids in whole(rows).items()}
    assert max(sizes.values()) > SEQ_LEN
    for row in rows:
        for uid, start, ids in pieces(row):
            assert start % SEQ_LEN == 0
            assert len(ids) == min(SEQ_LEN, sizes[uid] - start)


def test_the_order_survives_up_to_the_window(folder: Path) -> None:
    for plain, sequences in zip(files(folder / "plain"), files(folder / "fit"), strict=True):
        place = {int(row["id"].removeprefix("doc-")): at for at, row in enumerate(plain)}
        windows = [[place[uid] // 25 for uid in row["uids"]] for row in sequences]
        assert all(len(set(row)) == 1 for row in windows)
        assert [row[0] for row in windows] == sorted(row[0] for row in windows)


def test_concatenation_is_the_stream_of_each_file(folder: Path) -> None:
    for plain, sequences in zip(files(folder / "plain"), files(folder / "stream"), strict=True):
        stream = [token for row in plain for token in tokens_of(row["text"])]
        found = [token for row in sequences for _, _, ids in pieces(row) for token in ids]
        assert found == stream
        assert len(sequences) == -(-len(stream) // SEQ_LEN)


def test_positions_and_labels_follow_from_the_pieces(folder: Path) -> None:
    rows = read_export(folder / "unordered")
    assert any(sum(row["lengths"]) < SEQ_LEN for row in rows)
    for row in rows:
        used = sum(row["lengths"])
        assert len(row["input_ids"]) == len(row["position_ids"]) == len(row["labels"]) == SEQ_LEN
        positions = [at for size in row["lengths"] for at in range(size)] + [0] * (SEQ_LEN - used)
        assert row["position_ids"] == positions
        assert row["input_ids"][used:] == [EOS] * (SEQ_LEN - used)
        pairs = zip(row["input_ids"], positions, strict=True)
        assert row["labels"] == [token if position else -100 for token, position in pairs]
    assert "labels" not in read_export(folder / "fit")[0]


def test_the_columns_have_the_types_that_were_promised(folder: Path) -> None:
    schema = pq.read_schema(folder / "unordered/part-00000.parquet")
    fixed = pa.list_(pa.int32(), SEQ_LEN)
    assert [schema.field(n).type for n in ("input_ids", "position_ids", "labels")] == [fixed] * 3
    assert [schema.field(n).type.value_type for n in ("uids", "starts", "lengths")] == [
        pa.int64(),
        pa.int32(),
        pa.int32(),
    ]


def test_a_run_tells_of_sequences_tokens_and_padding(done: tuple[Path, dict[str, Any]]) -> None:
    folder, data = done
    for export, name in zip(data["exports"][1:3], ("fit", "stream"), strict=True):
        rows = read_export(folder / name)
        tokens = sum(size for row in rows for size in row["lengths"])
        assert export["rows"] == data["exports"][0]["rows"] == len(whole(rows))
        assert export["sequences"] == len(rows)
        assert export["tokens"] == tokens
        assert export["padding"] == pytest.approx(1 - tokens / len(rows) / SEQ_LEN)
        assert export["cuts"] == sum(len(row["uids"]) for row in rows) - export["rows"]
        assert export["empty"] == 0
    assert data["exports"][1]["cuts"] < 0.7 * data["exports"][2]["cuts"]
    assert len(read_export(folder / "gone")) == ROWS - data["exports"][1]["rows"]


def test_the_same_bytes_come_of_any_workers_batches_and_cuts(folder: Path, tmp_path: Path) -> None:
    write_cut(tmp_path / "in", corpus(ROWS), files=7, group=11)
    go(write_config(tmp_path, DAG), workers=3, batch_rows=17)
    for name in ("fit", "stream"):
        assert part_digests(tmp_path, name) == part_digests(folder, name)


def test_concatenation_does_not_depend_on_what_it_holds(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "CHUNK_TOKENS", 50)
    monkeypatch.setattr(packed, "BATCH_TOKENS", 2 * SEQ_LEN)
    batches = [pa.record_batch({"uid": [i], "text": [f"{'a few words ' * i}end"]}) for i in range(40)]
    packing = packed_settings("concatenate")
    few = [row for batch in packed.Packer(packing).sequences(iter(batches)) for row in batch.to_pylist()]
    monkeypatch.undo()
    packer = packed.Packer(packing)
    once = [pa.Table.from_batches(batches).combine_chunks().to_batches()[0]]
    assert few == [row for batch in packer.sequences(iter(once)) for row in batch.to_pylist()]
    assert packer.counts["documents"] == 40


def packed_settings(how: Any, vocabulary: Any = None) -> packed.Packing:
    from gpu_ops.trainer.stream import Vocabulary

    window = 10 if how == "best_fit" else None
    return packed.Packing(vocabulary or Vocabulary.load(str(MODEL)), SEQ_LEN, how, window, False)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_engine")
def test_ray_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_cut(tmp_path / "in", corpus(ROWS), files=3)
    go(write_config(tmp_path, DAG), engine="ray")
    for name in ("fit", "stream", "unordered"):
        assert part_digests(tmp_path, name) == part_digests(folder, name)


def test_the_same_export_again_writes_nothing_and_another_one_does(tmp_path: Path) -> None:
    write_cut(tmp_path / "in", corpus(40), files=1)
    text = f"nodes: {{exact: {{op: exact_dedup}}}}\nexport: {{path: out, {SETTINGS}}}\n"
    config = write_config(tmp_path, f"source: {{path: in, id: id}}\n{text}")
    first = go(config)
    before = births(tmp_path / "out")
    again = go(config)
    assert births(tmp_path / "out") == before
    assert again["exports"] == first["exports"]
    for change in ("seq_len=64", "packing=concatenate", "window=7", "labels=true"):
        seen = births(tmp_path / "out")
        go(config, [f"export.{change}"])
        assert births(tmp_path / "out") != seen


def test_documents_without_tokens_are_counted(tmp_path: Path) -> None:
    texts = ["some words", None, "", "more of them"]
    write_cut(tmp_path / "in", documents(texts), files=1)
    text = f"nodes: {{exact: {{op: exact_dedup}}}}\nexport: {{path: out, {SETTINGS}}}\n"
    (export,) = go(write_config(tmp_path, f"source: {{path: in, id: id}}\n{text}"))["exports"]
    (row,) = read_export(tmp_path / "out")
    assert row["uids"] == [0, 3]
    assert export["rows"] == 2
    assert export["empty"] >= 1  # exact_dedup may have taken one of the two for a copy of the other


@pytest.mark.parametrize("texts", [[], [""], [None, None]])
def test_nothing_to_pack_is_no_file(tmp_path: Path, texts: list[str | None]) -> None:
    table = pa.table({"id": pa.array([], pa.string()), "text": pa.array(texts, pa.string())[:0]})
    table = documents(pa.array(texts, pa.string())) if texts else table  # type: ignore[arg-type]
    write_cut(tmp_path / "in", table, files=1)
    text = f"nodes: {{size: {{op: length_filter, min: 0}}}}\nexport: {{path: out, {SETTINGS}}}\n"
    config = write_config(tmp_path, f"source: {{path: in, id: id}}\n{text}")
    (export,) = go(config, allow=("all",))["exports"]
    assert (export["rows"], export["sequences"], export["padding"]) == (0, 0, 0.0)
    assert export["empty"] == len(texts)
    assert not list((tmp_path / "out").glob("part-*"))


def test_a_tokenizer_without_bos_ends_documents_with_eos() -> None:
    from dataclasses import replace

    from gpu_ops.trainer.stream import Vocabulary

    vocabulary = replace(Vocabulary.load(str(MODEL)), bos=None)
    batch = pa.record_batch({"uid": [5, 6], "text": ["one", "two"]})
    packer = packed.Packer(packed_settings("best_fit", vocabulary))
    (row,) = next(packer.sequences(iter([batch]))).to_pylist()
    assert [ids for _, _, ids in pieces(row)] == [[*tokens_of(t)[1:], EOS] for t in ("one", "two")]


def test_the_plan_says_how_it_packs(folder: Path) -> None:
    text = plan_text(folder / "c.yaml")
    how = f"(packed: sequences of {SEQ_LEN} tokens by {MODEL}"
    assert f"{how}, best fit in windows of 25 documents; it holds " in text
    rows = read_export(folder / "stream")
    tokens = sum(size for row in rows for size in row["lengths"])
    padding = percent(len(rows) * SEQ_LEN - tokens, len(rows) * SEQ_LEN)
    holds = f"{len(rows)} sequences, {short(tokens)} tokens, {padding} padding"
    assert f"{how}, concatenated; it holds {holds}, in the order of order.order)" in text
    assert plan_text(folder / "c.yaml", ["export=[]"]).count("packed:") == 0


def test_the_end_of_a_run_and_its_report_tell_of_the_padding(done: tuple[Path, dict[str, Any]]) -> None:
    data = done[1]
    stream = io.StringIO()
    print_summary(data, stream)
    export = data["exports"][1]
    wanted = f"{export['sequences']} sequences of {SEQ_LEN}, {percent(export['padding'], 1)} padding"
    assert wanted in stream.getvalue()
    assert wanted.replace(",", " tokens,") in render(data)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("format: packed, seq_len: 64", "format: packed needs tokenizer"),
        ("format: packed", "format: packed needs tokenizer and seq_len"),
        (f"format: packed, tokenizer: {MODEL}, seq_len: 1", "seq_len = 1"),
        (f"{SETTINGS}, window: 0", "window = 0"),
        (f"{SETTINGS}, packing: first_fit", "packing = 'first_fit'"),
        (f"{SETTINGS}, packing: concatenate, window: 9", "window is of packing: best_fit"),
        (f"{SETTINGS}, columns: [exact.copies]", "no place for the column exact.copies"),
        ("seq_len: 64", "seq_len is of format: packed, and the format is parquet"),
        ("format: packed, seq_len: 64, tokenizer: nowhere", "nowhere has no tokenizer.json"),
        ("format: packed, seq_len: 64, tokenizer: bad", "bad cannot be read"),
    ],
)
def test_what_cannot_be_packed_is_seen_before_anything_runs(tmp_path: Path, settings: str, said: str) -> None:
    write_cut(tmp_path / "in", corpus(5), files=1)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/tokenizer.json").write_text("{}")
    lines = "\n  ".join(["path: out", *settings.split(", ")])
    text = f"nodes: {{exact: {{op: exact_dedup}}}}\nexport:\n  {lines}\n"
    config = write_config(tmp_path, f"source: {{path: in, id: id}}\n{text}")
    with pytest.raises(ConfigError, match=r"c\.yaml:\d+: ") as caught:
        plan_text(config)
    assert said in str(caught.value)
    assert not (tmp_path / ".tamis/nodes").exists()


def test_without_the_package_the_plan_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs the package tokenizers: pip install 'tamis\[gpu\]'"):
        plan_text(folder / "c.yaml")


def test_transformers_trains_on_the_files_as_they_are(folder: Path) -> None:
    """Its own collator and loss; the sum is that of the documents alone, the cut ones piece by piece."""
    import torch
    from torch.nn import functional
    from transformers import AutoModelForCausalLM, default_data_collator

    model = AutoModelForCausalLM.from_pretrained(MODEL).eval()
    rows = read_export(folder / "unordered")[:4]
    names = ("input_ids", "position_ids", "labels")
    batch = default_data_collator([{name: row[name] for name in names} for row in rows])
    with torch.no_grad():
        found = model(**batch, use_cache=False).loss
        losses, targets = 0.0, 0
        for _, _, ids in (piece for row in rows for piece in pieces(row)):
            logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
            losses += float(functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum"))
            targets += len(ids) - 1
    assert float(found) == pytest.approx(losses / targets, rel=1e-5)
