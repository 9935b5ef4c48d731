"""An operator of every shape in files of a user's own, run by both engines, against brute force."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from whole_runs import corpus, go, nodes_of, read_export, write_config, write_cut

ROWS = 300
HEAD = """
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.contract import (
    DROP, TEXT, Adds, Artifact, Columns, Emission, FitOp, FoldOp, Kind, LoopOp, MapOp, Part, Reads, ReduceOp,
    ShuffleOp, Uses, drop_column,
)
"""
OPERATORS = {
    "fit_mean": '''
class FitMean(FitOp):
    """The mean length of all texts, and how far each is from it."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        return {"distance": pa.float64()}

    def fit(self, rows: Iterator[pa.RecordBatch], device: str, uses: Uses) -> Artifact:
        lengths = [n for batch in rows for n in pc.binary_length(batch.column("text")).to_pylist()]
        return {"mean": np.array(sum(lengths) / len(lengths))}

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        lengths = np.asarray(pc.binary_length(batch.column("text")))
        return {"distance": pa.array(np.abs(lengths - state["mean"]))}
''',
    "fold_range": '''
class FoldRange(FoldOp):
    """The smallest and largest score, and where each row lies between them."""

    @property
    def reads(self) -> Reads:
        return {"score": Kind.NUMBER}

    @property
    def adds(self) -> Adds:
        return {"place": pa.float64()}

    @property
    def state_bytes(self) -> int:
        return 16

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        values = np.asarray(batch.column("score"))
        low, high = (values.min(), values.max()) if len(values) else (np.inf, -np.inf)
        return {"low": np.array(low), "high": np.array(high)}

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        return {"low": np.minimum(a["low"], b["low"]), "high": np.maximum(a["high"], b["high"])}

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        return state

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        values = np.asarray(batch.column("score"))
        return {"place": pa.array((values - state["low"]) / (state["high"] - state["low"]))}
''',
    "share_words": '''
class ShareWords(ShuffleOp):
    """Every word of a text is a message; the reply is how many were sent before with the same word."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT}

    @property
    def adds(self) -> Adds:
        return {"before": pa.list_(pa.int64())}

    @property
    def emits(self) -> Adds:
        return {"place": pa.int32()}

    @property
    def replies(self) -> Adds:
        return {"before": pa.int64()}

    order = ()

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        row, place, key = [], [], []
        for number, text in enumerate(batch.column("text").to_pylist()):
            for i, word in enumerate(sorted(set(text.split()))):
                row.append(number)
                place.append(i)
                key.append(int.from_bytes(word.encode()[-8:], "little"))
        payload = {"place": pa.array(place, pa.int32())}
        return Emission(np.array(row, np.int64), np.array(key, np.uint64), payload)

    def reply(self, messages: Iterator[pa.RecordBatch]) -> Iterator[Columns]:
        last, seen = None, 0
        for batch in messages:
            found = []
            for key in batch.column("key").to_pylist():
                last, seen = key, seen + 1 if key == last else 0
                found.append(seen)
            yield {"before": pa.array(found, pa.int64())}

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        starts = np.searchsorted(np.asarray(replies.column("row")), np.arange(batch.num_rows + 1))
        values = replies.column("before")
        return {"before": pa.ListArray.from_arrays(pa.array(starts, pa.int32()), values)}
''',
    "halve": '''
class Halve(LoopOp):
    """Raises a bound on the score until at most `most` rows lie above it."""

    most: int = 20
    """How many rows may stay."""

    @property
    def reads(self) -> Reads:
        return {"score": Kind.NUMBER}

    @property
    def adds(self) -> Adds:
        return {"drop": DROP, "bound": pa.float64()}

    def step(self, round: int) -> list[Part]:
        uses = {"last": "last.tally"} if round else {}
        return [Part("tally", "./tally.py", {"round": round, "most": self.most}, uses)]

    def done(self, state: Artifact, round: int) -> bool:
        return int(state["above"]) <= self.most

    def columns(self, batch: pa.RecordBatch, uses: Uses) -> Columns:
        bound = float(uses["last"]["bound"])
        stays = np.asarray(batch.column("score")) > bound
        reasons = drop_column(np.where(stays, -1, 0), ["below"])
        return {"drop": reasons, "bound": pa.array(np.full(len(stays), bound))}
''',
    "tally": '''
class Tally(FoldOp):
    """How many rows lie above this round's bound."""

    round: int
    """Which round."""
    most: int
    """What is enough."""

    @property
    def reads(self) -> Reads:
        return {"score": Kind.NUMBER}

    @property
    def adds(self) -> Adds:
        return {}

    @property
    def state_bytes(self) -> int:
        return 16

    def fold(self, batch: pa.RecordBatch, uses: Uses) -> Artifact:
        bound = float(uses["last"]["bound"]) + 0.25 if self.round else 0.0
        above = (np.asarray(batch.column("score")) > bound).sum()
        return {"above": np.array(above), "bound": np.array(bound)}

    def merge(self, a: Artifact, b: Artifact) -> Artifact:
        return {"above": a["above"] + b["above"], "bound": a["bound"]}

    def finish(self, state: Artifact, uses: Uses) -> Artifact:
        return state

    def columns(self, batch: pa.RecordBatch, state: Artifact) -> Columns:
        return {}
''',
    "count_domain": '''
class CountDomain(ReduceOp):
    """How many rows have the same domain, and their greatest score."""

    @property
    def reads(self) -> Reads:
        return {"domain": TEXT, "score": Kind.NUMBER}

    @property
    def adds(self) -> Adds:
        return {"rows": pa.int64(), "best": pa.float64()}

    @property
    def emits(self) -> Adds:
        return self.adds

    def emit(self, batch: pa.RecordBatch, uses: Uses) -> Emission:
        key = np.array([len(d) for d in batch.column("domain").to_pylist()], np.uint64)
        key2 = np.array([d.encode()[1] for d in batch.column("domain").to_pylist()], np.uint64)
        ones = pa.array(np.ones(len(key), np.int64))
        return Emission(np.arange(len(key)), key, {"rows": ones, "best": batch.column("score")}, key2)

    def combine(self, messages: pa.RecordBatch, starts: np.ndarray) -> Columns:
        rows = np.add.reduceat(np.asarray(messages.column("rows")), starts)
        best = np.maximum.reduceat(np.asarray(messages.column("best")), starts)
        return {"rows": pa.array(rows), "best": pa.array(best)}

    def columns(self, batch: pa.RecordBatch, replies: pa.RecordBatch) -> Columns:
        return {"rows": replies.column("rows"), "best": replies.column("best")}
''',
}
DAG = """
    source: {path: in, text: text, id: id, shard_bytes: 1}
    nodes:
      fit:    {op: ./fit_mean.py}
      range:  {op: ./fold_range.py}
      words:  {op: ./share_words.py}
      domain: {op: ./count_domain.py}
      halve:  {op: ./halve.py, most: 25}
    export:
      input: domain
      path: out/
      columns: [fit.distance, range.place, words.before, domain.rows, domain.best]
"""


def expected(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All columns by plain Python."""
    lengths = [len(row["text"].encode()) for row in rows]
    scores = [row["score"] for row in rows]
    mean, low, high = sum(lengths) / len(rows), min(scores), max(scores)
    seen: Counter[str] = Counter()
    found = []
    for row, length in zip(rows, lengths, strict=True):
        words = sorted(set(row["text"].split()))
        same = [other["score"] for other in rows if other["domain"] == row["domain"]]
        found.append(
            {
                "fit.distance": abs(length - mean),
                "range.place": (row["score"] - low) / (high - low),
                "words.before": [seen[word] for word in words],
                "domain.rows": len(same),
                "domain.best": max(same),
            }
        )
        seen.update(words)
    return found


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_own_operators_of_all_shapes_agree_with_brute_force(
    tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    if engine == "ray":
        request.getfixturevalue("ray_engine")
    table = corpus(ROWS)
    write_cut(tmp_path / "in", table, files=3)
    for name, source in OPERATORS.items():
        (tmp_path / f"{name}.py").write_text(HEAD + source)
    data = go(write_config(tmp_path, DAG), engine=engine, workers=2, batch_rows=50)
    rows = read_export(tmp_path / "out")
    columns = list(expected(rows)[0])
    assert [{name: row[name] for name in columns} for row in rows] == expected(table.to_pylist())
    halve = nodes_of(data)["halve"]
    above = [int((np.asarray(table["score"]) > 0.25 * round).sum()) for round in range(40)]
    rounds = next(number for number, count in enumerate(above) if count <= 25)
    assert halve["rounds"] == rounds + 1 > 3
    assert (halve["rows_out"], halve["dropped"]) == (above[rounds], {"below": ROWS - above[rounds]})
