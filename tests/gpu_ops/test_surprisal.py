"""surprisal: token losses at some positions, against transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from scoring import scored
from transformers import AutoModelForCausalLM

from gpu_ops.kernels.causal_lm import CausalLm
from gpu_ops.surprisal import Surprisal

torch.set_num_threads(1)
MODEL = str(Path(__file__).parents[2] / "configs/quickstart/stories260K")
TEXTS = ["Once upon a time, there was a girl named Lily.", "x", "the cat sat on a mat " * 9, "def f(x):"]


def batch_of(texts: list[str | None]) -> pa.RecordBatch:
    keys = pa.array(np.arange(len(texts), dtype=np.uint64) * 7 + 1)
    return pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string()), "key": keys})


@pytest.fixture(scope="module")
def model() -> CausalLm:
    return Surprisal(model=MODEL).load("cpu")


def losses_of(model: CausalLm, text: str, limit: int) -> np.ndarray:
    """The loss of every token by transformers' logits."""
    network = AutoModelForCausalLM.from_pretrained(MODEL).eval()
    ids = [model.bos, *model.tokenizer.encode(text, add_special_tokens=False).ids[:limit]]
    with torch.inference_mode():
        log_p = network(input_ids=torch.tensor([ids])).logits[0].log_softmax(1)
    return np.array([-log_p[i, token].item() for i, token in enumerate(ids[1:])])


def test_with_all_positions_it_is_the_losses_over_their_length(model: CausalLm) -> None:
    got = scored(Surprisal(model=MODEL, max_tokens=20, share=1), batch_of(TEXTS), model)["surprisal"]
    for text, vector in zip(TEXTS, got.to_pylist(), strict=True):
        losses = losses_of(model, text, 20)
        want = np.zeros(20)
        want[: len(losses)] = losses / np.linalg.norm(losses)
        np.testing.assert_allclose(vector, want, atol=1e-5)


def test_a_share_of_the_positions_enters_the_same_in_any_batch(model: CausalLm) -> None:
    op = Surprisal(model=MODEL, max_tokens=40, share=0.25, seed=5)
    together = np.array(scored(op, batch_of(TEXTS), model)["surprisal"].to_pylist())
    for i, text in enumerate(TEXTS):
        tokens = len(losses_of(model, text, 40))
        assert np.count_nonzero(together[i]) == max(1, round(0.25 * tokens))
        assert np.linalg.norm(together[i]) == pytest.approx(1, abs=1e-6)
        alone = scored(op, batch_of(TEXTS).slice(i, 1), model)["surprisal"][0].as_py()
        np.testing.assert_allclose(alone, together[i], atol=1e-4)
    other = Surprisal(model=MODEL, max_tokens=40, share=0.25, seed=6)
    assert (np.array(scored(other, batch_of(TEXTS), model)["surprisal"].to_pylist()) != together).any()


def test_the_positions_are_uniform() -> None:
    op = Surprisal(model=MODEL, share=0.1)
    counts = np.zeros(50)
    for key in range(2000):
        counts[op._positions(np.array([key], np.uint64), 50)] += 1
    assert counts.sum() == 2000 * 5
    assert abs(counts - 200).max() < 5 * np.sqrt(180)


def test_without_tokens_there_is_no_vector(model: CausalLm) -> None:
    got = scored(Surprisal(model=MODEL, max_tokens=5), batch_of([None, "", "a"]), model)["surprisal"]
    assert got.is_null().to_pylist() == [True, True, False]
    assert len(scored(Surprisal(model=MODEL), batch_of([]), model)["surprisal"]) == 0
