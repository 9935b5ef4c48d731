"""What a second run computes again after a change of the config: only what the change touches."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from whole_runs import births, documents, go, nodes_of, plan_text, write_config, write_cut

from pipeline.errors import ConfigError

MEMORY = {"memory": 10**9, "workers": 2}  # as the plan would tell of this machine
GOLDEN = Path(__file__).parent / "golden_plan.txt"
DAG = """
    source: {path: in/*.parquet, text: text, id: id, shard_bytes: 1}
    seed: 7
    nodes:
      exact: {op: exact_dedup}
      fuzzy: {op: minhash_dedup, threshold: 0.8, ngram: 1, bands: 64, rows: 2}
      loss:  {op: ./log_score.py, log: LOG}
      pick:  {op: importance, score: loss.nats, keep_share: 0.7, temperature: 0}
      order: {op: curriculum, difficulty: length, pacing: root}
    export: {path: out/, format: parquet, columns: [nats], file_bytes: 4KB}
"""
SCORER = '''
from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from operators.contract import TEXT, Adds, Columns, Reads, ScoreOp


class LogScore(ScoreOp):
    """A score that is not free: who was scored is written to a file."""

    log: str
    """Where the ids of the scored rows go."""

    @property
    def reads(self) -> Reads:
        return {"text": TEXT, "id": TEXT}

    @property
    def adds(self) -> Adds:
        return {"nats": pa.float64()}

    def load(self, device: str) -> Any:
        return 0.5

    def prepare(self, batch: pa.RecordBatch, model: Any) -> pa.RecordBatch:
        return batch

    def columns(self, batch: pa.RecordBatch, model: Any) -> Columns:
        with open(self.log, "ab", buffering=0) as log:
            log.write("".join(f"{id}\\n" for id in batch.column("id").to_pylist()).encode())
        return {"nats": pc.multiply(pc.cast(pc.binary_length(batch.column("text")), pa.float64()), model)}
'''


def chains(count: int) -> list[str]:
    """Texts a, b, c in turn: J(a, b) = 0.792, J(b, c) = 0.955, J(a, c) = 0.755. At 0.80 a and b stay and c
    goes for b; at 0.79 b goes for a, and c comes alive."""
    texts = []
    for n in range(count):
        both, own, other = ([f"{kind}{n}x{i}" for i in range(5)] for kind in ("both", "own", "other"))
        shared = [f"shared{n}x{i}" for i in range(33)]
        a, b = shared + both + own, shared + both + other
        texts += [a, b, [f"last{n}", *b[1:]]]
    return [" ".join(text) for text in texts]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    alone = [f"alone{i}" for i in range(30)]
    write_cut(tmp_path / "in", documents(chains(20) + alone + alone[:10]), files=3)
    (tmp_path / "log_score.py").write_text(SCORER)
    return write_config(tmp_path, DAG.replace("LOG", str(tmp_path / "log")))


def scored(config: Path) -> list[str]:
    """The ids that were scored since the last look."""
    log = config.parent / "log"
    found = log.read_text().split() if log.exists() else []
    log.unlink(missing_ok=True)
    return sorted(found, key=lambda id: int(id.removeprefix("doc-")))


def ids(rows: list[int]) -> list[str]:
    return [f"doc-{row}" for row in rows]


def recomputed(config: Path, sets: list[str], engine: str) -> tuple[dict[str, int], list[str]]:
    """(rows that each node computed in a run, the store's files that it wrote again)."""
    store = config.parent / ".tamis/nodes"
    before = births(store)
    data = go(config, sets, engine=engine, workers=2)
    after = births(store)
    again = [name for name in before.keys() & after.keys() if before[name] != after[name]]
    return {name: node["computed_rows"] for name, node in nodes_of(data).items()}, again


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_looser_threshold_scores_only_the_rows_that_came_alive(
    config: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    if engine == "ray":
        request.getfixturevalue("ray_engine")
    first, _ = recomputed(config, [], engine)
    alive = [3 * n + i for n in range(20) for i in (0, 1)] + list(range(60, 90))
    assert scored(config) == ids(alive)
    assert first["loss"] == len(alive)
    second, again = recomputed(config, ["nodes.fuzzy.threshold=0.79"], engine)
    assert scored(config) == ids([3 * n + 2 for n in range(20)])
    assert second["loss"] == 20
    assert not again
    assert [second[name] for name in ("source/size", "exact", "fuzzy/signature")] == [0] * 3
    third, again = recomputed(config, ["nodes.fuzzy.threshold=0.8"], engine)
    assert not scored(config)
    assert not again
    assert set(third.values()) == {0}


def normal(text: str, folder: Path) -> str:
    """A plan without what depends on the machine: paths, sizes on disk and times."""
    text = text.replace(str(folder), "FOLDER")
    text = re.sub(r"[\d.,]+ [kM]?B\b", "SIZE", text)
    return re.sub(r"about [\d.,]+ [mµ]?s", "about TIME", text)


def test_after_a_change_of_the_curriculum_only_it_runs_and_the_plan_says_so(config: Path) -> None:
    lines = config.read_text().splitlines(keepends=True)
    config.write_text(
        "".join(line for line in lines if "fuzzy" not in line)
    )  # its parts have tests of their own
    linear = ["nodes.order.pacing=linear"]
    plans = [plan_text(config, **MEMORY)]
    recomputed(config, [], "local")
    plans.append(plan_text(config, linear, **MEMORY))
    computed, again = recomputed(config, linear, "local")
    plans.append(plan_text(config, linear, **MEMORY))
    heads = ("before the first run", "with another curriculum", "after that run")
    shown = "".join(
        f"# {head}\n{normal(plan, config.parent)}\n\n" for head, plan in zip(heads, plans, strict=True)
    )
    assert not again
    assert {name for name, rows in computed.items() if rows} == {"order"}
    assert shown == GOLDEN.read_text()


def test_a_column_of_the_source_is_no_export_column(config: Path) -> None:
    with pytest.raises(ConfigError, match="columns: id is the source's own, and those are written anyway"):
        plan_text(config, ["export.columns=[id]"])


def test_a_bad_export_column_is_found_before_anything_runs(config: Path) -> None:
    with pytest.raises(ConfigError, match=r"reads 'pick.nats'|pick.nats"):
        go(config, ["export.columns=[pick.nats]"])
    assert not scored(config)
