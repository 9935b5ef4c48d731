"""loss_gap: what two models' losses differ by, from passes that are shared with nodes that ask the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file
from whole_runs import documents, go, nodes_of, read_export, write_config, write_cut

from operators.loss_difference import LossDifference

MODEL = Path(__file__).parents[2] / "configs/quickstart/stories260K"
TEXTS = ["Once upon a time, there was a girl.", "x", "", "the cat sat " * 9, "def f(x): return x", "cat dog"]
DAG = """
source: {path: in/*.parquet, text: text, id: id}
nodes:
  loss: {op: lm_loss, model: MODEL, max_tokens: 20}
  unsure: {op: uncertainty, model: MODEL, max_tokens: 20}
  gap: {op: loss_gap, model: MODEL, reference: reference, max_tokens: 20}
export: {path: out/, columns: [loss.loss_per_byte, gap.gap, gap.learner, gap.reference]}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A reference that knows less: the same model, its weights disturbed."""
    write_cut(tmp_path / "in", documents(TEXTS), files=2)
    shutil.copytree(MODEL, tmp_path / "reference")
    torch.manual_seed(0)
    weights = load_file(tmp_path / "reference/model.safetensors")
    worse = {name: one + 0.05 * torch.randn_like(one) for name, one in weights.items()}
    save_file(worse, tmp_path / "reference/model.safetensors", {"format": "pt"})
    return write_config(tmp_path, DAG.replace("MODEL", str(MODEL)))


def test_one_pass_serves_all_that_ask_a_model_the_same(config: Path) -> None:
    nodes = nodes_of(go(config, workers=1))
    computed = {name: nodes[name]["computed_rows"] for name in nodes}
    passes = {"loss", "unsure/pass", "gap/learner"}
    assert sorted(computed[name] for name in passes) == [0, 0, len(TEXTS)]
    assert computed["gap/reference"] == len(TEXTS)
    rows = {row["text"]: row for row in read_export(config.parent / "out")}
    for text, row in rows.items():
        gap, learner = row["gap.gap"], row["gap.learner"]
        assert learner == row["loss.loss_per_byte"]
        want = None if not text else pytest.approx(learner - row["gap.reference"], abs=1e-6)
        assert gap == want
    assert rows[TEXTS[0]]["gap.gap"] < 0, "the model that was not disturbed knows a story better"


def test_the_difference_is_null_where_a_loss_is() -> None:
    op = LossDifference()
    values = [pa.array([3.0, None, 1.0], pa.float32()), pa.array([1.0, 2.0, None], pa.float32())]
    got = op.columns(pa.RecordBatch.from_arrays(values, list(op.reads)), {})
    assert got["gap"].to_pylist() == [2.0, None, None]
