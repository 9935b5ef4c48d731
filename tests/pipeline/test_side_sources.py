"""Files that a recipe reads beside the source: any format, any text columns; here evaluation data."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from whole_runs import documents, go, plan_text, read_export, write_config, write_cut

from pipeline.errors import ConfigError

QUESTIONS = [
    "How many legs have six spiders and two ants?",
    "Too short",
    "Which of the nine planets has no moon at all",
]
ANSWERS = ["Six spiders have 48 legs, two ants have 12, together 60.", "x", "Mercury and Venus."]
TEXTS = [
    "A riddle.\r\nHow many LEGS have six spiders -- and two ants?\r\nThink.",
    "Six spiders have 48 legs, two ants have 12, so what?",
    "Which of the nine planets has rings? Mercury and Venus. Too short",
    "Nothing of that.",
]
CONFIG = """
    source: {path: data, id: id}
    nodes:
      test: {op: decontaminate, against: FILE, columns: COLUMNS}
    export: {path: out, dropped: gone}
"""


def write_evaluation(path: Path, **columns: list[str]) -> None:
    table = pa.table(columns)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))


def config_for(folder: Path, file: str, columns: str) -> Path:
    write_cut(folder / "data", documents(TEXTS), files=2)
    return write_config(folder, CONFIG.replace("FILE", file).replace("COLUMNS", columns))


def dropped(folder: Path) -> dict[str, dict[str, object]]:
    """id -> evidence of the dropped documents."""
    return {row["id"]: json.loads(row["evidence"]) for row in read_export(folder / "gone")}


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
def test_evaluation_files_need_no_text_column(tmp_path: Path, suffix: str) -> None:
    write_evaluation(tmp_path / f"eval.{suffix}", question=QUESTIONS, answer=ANSWERS)
    go(config_for(tmp_path, f"eval.{suffix}", "[question]"))
    gone = dropped(tmp_path)
    assert list(gone) == ["doc-0"]
    passage = "How many LEGS have six spiders -- and two ants"
    assert gone["doc-0"] == {"evaluation_row": 0, "overlap": 1, "share": 1.0, "matched": passage}
    assert [row["id"] for row in read_export(tmp_path / "out")] == ["doc-1", "doc-2", "doc-3"]


def test_rows_count_through_all_files(tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    for name, question in zip("ab", [QUESTIONS[1:], QUESTIONS[:1]], strict=True):
        write_evaluation(tmp_path / "sets" / f"{name}.jsonl", question=question)
    go(config_for(tmp_path, "sets/*.jsonl", "[question]"))
    assert {key: row["evaluation_row"] for key, row in dropped(tmp_path).items()} == {"doc-0": 2}


def test_a_text_column_has_its_own_name_too(tmp_path: Path) -> None:
    """The source's text is `content`; so is the file's, which has a `text` of another kind as well."""
    pq.write_table(pa.table({"id": ["doc-0"], "content": TEXTS[:1]}), tmp_path / "c.parquet")
    write_evaluation(tmp_path / "eval.parquet", content=QUESTIONS, text=["-"] * 3)
    config = write_config(
        tmp_path,
        """
        source: {path: c.parquet, text: content, id: id}
        nodes:
          test: {op: decontaminate, against: eval.parquet, columns: [content]}
        export: {path: out, dropped: gone}
        """,
    )
    go(config, allow=("all",))
    assert list(dropped(tmp_path)) == ["doc-0"]


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "eval.jsonl", question=QUESTIONS, answer=ANSWERS)
    with pytest.raises(
        ConfigError, match=r"c\.yaml:4: test/evaluation reads 'quiz' of .*eval\.jsonl, which has only"
    ):
        plan_text(config_for(tmp_path, "eval.jsonl", "[quiz]"))


def test_cuts_of_two_editors_compose(tmp_path: Path) -> None:
    """Evaluation passages go, then lines that several documents have; what is left is exported."""
    write_evaluation(tmp_path / "eval.jsonl", question=QUESTIONS, answer=ANSWERS)
    lines = "\n      lines: {op: line_dedup, policy: drop_all}"
    config = config_for(
        tmp_path,
        "eval.jsonl",
        f"[question, answer], ngram: 8, action: cut}}{lines}\n      more: {{op: length_filter, min: 1",
    )
    texts = [*TEXTS, "A riddle!\nnew\n", " how many legs have six spiders and two ants \nTHINK\n"]
    write_cut(tmp_path / "data", documents(texts), files=2)
    go(config)
    left = {row["id"]: row["text"] for row in read_export(tmp_path / "out")}
    assert left == {
        "doc-0": "?\r\n",
        "doc-1": ", so what?",
        "doc-2": TEXTS[2],
        "doc-3": TEXTS[3],
        "doc-4": "new\n",
    }
