"""Tokens are those that the tokenizers package counts, and those of lm_loss; bad files are named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from memory_engine import run
from tokenizers import Tokenizer

from gpu_ops.lm_loss import LmLoss
from gpu_ops.token_count import TokenCount

FOLDER = Path(__file__).parents[2] / "configs" / "quickstart" / "stories260K"
TEXTS = ["Once upon a time", None, "", "日本語 🎉", "word " * 20_000, "\n\n x"]


def test_counts_what_the_package_counts() -> None:
    table = pa.table({"text": pa.array(TEXTS, pa.large_string())})
    got = run(TokenCount(tokenizer=str(FOLDER / "tokenizer.json")), table, batch_rows=2).column("tokens")
    own = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    short = [len(own.encode(text or "", add_special_tokens=False)) for text in TEXTS]
    assert abs(got[4].as_py() - short[4]) <= 1  # cut in two
    assert [n for i, n in enumerate(got.to_pylist()) if i != 4] == short[:4] + short[5:]


def test_counts_what_lm_loss_counts() -> None:
    op = LmLoss(model=str(FOLDER), max_tokens=4)
    batch = pa.RecordBatch.from_pydict({"text": pa.array(TEXTS, pa.large_string())})
    model = op.load("cpu")
    theirs = op.columns(op.prepare(batch, model), model)["tokens"]
    mine = TokenCount(tokenizer=str(FOLDER / "tokenizer.json")).columns(batch, {})["tokens"]
    assert mine.equals(theirs)


def test_another_file_under_the_same_name_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    raw = json.loads((FOLDER / "tokenizer.json").read_text("utf-8"))
    batch = pa.RecordBatch.from_pydict({"text": pa.array(["Once upon a time"], pa.large_string())})
    found = []
    for stamp, truncation in ((1, None), (2, {"max_length": 2, "strategy": "LongestFirst", "stride": 0})):
        raw["truncation"] = truncation and {**truncation, "direction": "Right"}
        raw["normalizer"] = {"type": "Lowercase"} if truncation else raw["normalizer"]
        path.write_text(json.dumps(raw), "utf-8")
        os.utime(path, (stamp, stamp))
        found.append(TokenCount(tokenizer=str(path)).columns(batch, {})["tokens"].to_pylist()[0])
    assert found[0] != found[1]
    assert min(found) > 2  # the tokenizer's own truncation is off


def test_bad_files_are_named(tmp_path: Path) -> None:
    batch = pa.RecordBatch.from_pydict({"text": pa.array(["x"], pa.large_string())})
    with pytest.raises(FileNotFoundError, match=r"no tokenizer .* name a tokenizer\.json"):
        TokenCount(tokenizer=str(FOLDER)).columns(batch, {})
    (tmp_path / "odd.json").write_text("{}")
    with pytest.raises(ValueError, match=r"odd\.json: no tokenizer\.json of"):
        TokenCount(tokenizer=str(tmp_path / "odd.json")).columns(batch, {})
