"""A pipeline whose arms train classifiers: columns of nodes reach them, and what is missing is said first."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import load_config
from pipeline.errors import ConfigError
from pipeline.plan import make_plan
from pipeline.prepare import RunOptions
from pipeline.progress import Progress
from pipeline.run import run

STORIES = Path(__file__).parents[2] / "configs/quickstart/stories260K"
CONFIG = """\
source: {{path: data, text: text}}
seed: 3
nodes:
  embed: {{op: embed, model: {model}, pooling: mean}}
  holdout: {{op: holdout, by: domain, share: 0.2}}
  unique: {{op: exact_dedup, max_drop_share: 1}}
train:
  input: unique
  objective: classification
  label: kind
  {what}
  batch_size: 8
  seeds: 2
  evals: 2
  compare: [random]
"""
VECTORS = "features: embedding\n  model: {mlp: []}\n  epochs: 20\n  lr: 0.1"
LLAMA = f"model: {{hidden: 16, layers: 1, heads: 2}}\n  tokenizer: {STORIES}"
TEXTS = f"{LLAMA}\n  examples: 64\n  seq_len: 16\n  lr: 0.01"


def written(folder: Path, what: str, label: str = "kind") -> Path:
    luck = np.random.default_rng(0)
    kinds = luck.choice(["cat", "dog"], 120).tolist()
    texts = [f"It was {'a cat and' if k == 'cat' else 'the dog of'} {i}." for i, k in enumerate(kinds)]
    domains = luck.choice(["a", "b"], 120).tolist()
    (folder / "data").mkdir()
    pq.write_table(pa.table({"text": texts, label: kinds, "domain": domains}), folder / "data/x.parquet")
    (folder / "run.yaml").write_text(CONFIG.format(model=STORIES, what=what))
    return folder / "run.yaml"


JOINT = f"{TEXTS}\n  joint: [{{weight: 0.2}}, {{input: random, weight: 0.2, batch_size: 2}}]"


@pytest.mark.parametrize("what", [VECTORS, TEXTS, JOINT])
def test_arms_learn_labels_from_columns_of_the_source_and_of_nodes(tmp_path: Path, what: str) -> None:
    config = load_config(written(tmp_path, what))
    made = run(config, RunOptions(workers=1, device="cpu"), Progress(quiet=True))
    train = made["train"]
    assert set(train["arms"]) == {"random", "unique"}
    assert train["arms"]["unique"]["final"]["accuracy"]["all"]["mean"] > 0.6
    assert set(train["paired_accuracy"]["unique"]) == {"a", "b", "macro", "all"}
    page = next((tmp_path / ".tamis").rglob("report.html")).read_text("utf-8")
    assert "held-out documents that are classified rightly" in page
    assert "nats per document" in page
    exported = next((tmp_path / ".tamis/train").glob("compare-*/unique-0/model/config.json"))
    assert json.loads(exported.read_text())["id2label"] == {"0": "cat", "1": "dog"}
    if what == VECTORS:
        assert train["arms"]["random"]["corpus_tokens"] == train["arms"]["unique"]["corpus_tokens"]


@pytest.mark.parametrize(
    ("what", "label", "message"),
    [
        (VECTORS, "species", "label: kind is no column of the documents of holdout"),
        (JOINT.replace("input: random", "input: other"), "kind", "joint: no node 'other' to read"),
        (VECTORS.replace("embedding", "vector"), "kind", "features: vector is no column of the documents"),
        (VECTORS.replace("embedding", "domain"), "kind", "features: domain is .*, not lists of numbers"),
    ],
)
def test_missing_columns_are_said_before_anything_runs(
    tmp_path: Path, what: str, label: str, message: str
) -> None:
    config = load_config(written(tmp_path, what, label))
    with pytest.raises(ConfigError, match=message):
        make_plan(config, RunOptions(workers=1, device="cpu"))
