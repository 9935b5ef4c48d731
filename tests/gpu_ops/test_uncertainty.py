"""uncertainty: the columns of lm_loss's one pass, and what dropout adds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import scipy.special
import scipy.stats
import torch
from pydantic import ValidationError
from scoring import scored
from transformers import GPT2Config, GPT2LMHeadModel

from gpu_ops.dropout_passes import DropoutPasses
from gpu_ops.kernels import noisy_lm
from gpu_ops.kernels.causal_lm import CausalLm, find_head
from gpu_ops.lm_loss import LmLoss
from gpu_ops.uncertainty import Uncertainty
from operators.renamed import Renamed

torch.set_num_threads(1)
MODEL = str(Path(__file__).parents[2] / "configs/quickstart/stories260K")
TEXTS = ["Once upon a time, there was a girl named Lily.", "x", "the cat sat on a mat " * 9, "def f(x):"]


def batch_of(texts: list[str | None]) -> pa.RecordBatch:
    keys = pa.array(np.arange(len(texts), dtype=np.uint64) * 77 + 5)
    return pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string()), "key": keys})


def test_it_shows_the_columns_of_a_pass_that_lm_loss_shares() -> None:
    op = Uncertainty(model=MODEL, max_tokens=9)
    one, face = op.parts()
    assert LmLoss(**one.fields) == LmLoss(model=MODEL, max_tokens=9)
    columns = {name: pa.array([0.5, None], pa.float32()) for name in Renamed(**face.fields).reads}
    shown = Renamed(**face.fields).columns(pa.RecordBatch.from_pydict(columns), {})
    assert set(shown) == {"entropy", "margin", "least_confidence"}
    assert all(f"/pass.{name}" in columns for name in shown)


def test_dropout_needs_passes() -> None:
    with pytest.raises(ValidationError, match="does nothing without `passes`"):
        Uncertainty(model=MODEL, dropout=0.1)


@pytest.fixture(scope="module")
def noisy() -> noisy_lm.NoisyLm:
    return DropoutPasses(model=MODEL, dropout=0.2).load("cpu")


@pytest.mark.parametrize("passes", [2, 5])
def test_bald_is_the_mutual_information_of_the_passes(noisy: noisy_lm.NoisyLm, passes: int) -> None:
    """By scipy in float64, from the logits of the same noise one document at a time."""
    batch = batch_of(TEXTS)
    op = DropoutPasses(model=MODEL, dropout=0.2, passes=passes, seed=3)
    got = scored(op, batch, noisy)
    logits: dict[int, list[np.ndarray]] = {}
    whole = noisy_lm.to_logits

    def watched(product: torch.Tensor, bias: torch.Tensor | None, head: noisy_lm.Head) -> torch.Tensor:
        logits.setdefault(row, []).append(whole(product, bias, head).double().numpy())
        return whole(product, bias, head)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noisy_lm, "to_logits", watched)
        for row in range(len(TEXTS)):
            scored(op, batch.slice(row, 1), noisy)
    for row, found in logits.items():
        p_TNV = scipy.special.softmax(np.stack(found), axis=2)
        total = scipy.stats.entropy(p_TNV.mean(axis=0), axis=1)
        bald = total - scipy.stats.entropy(p_TNV, axis=2).mean(axis=0)
        assert got["bald"][row].as_py() == pytest.approx(bald.mean(), rel=1e-3)
        assert got["mean_entropy"][row].as_py() == pytest.approx(total.mean(), rel=1e-4)
        assert bald.mean() > 1e-3
    assert len(logits) == len(TEXTS)


def test_noise_depends_on_the_seed_and_the_key_alone(noisy: noisy_lm.NoisyLm) -> None:
    batch = batch_of(TEXTS)
    op = DropoutPasses(model=MODEL, passes=2, seed=3)
    together = scored(op, batch, noisy)["bald"].to_numpy()
    alone = [scored(op, batch.slice(i, 1), noisy)["bald"][0].as_py() for i in range(len(TEXTS))]
    np.testing.assert_allclose(alone, together, rtol=1e-3)
    other = scored(DropoutPasses(model=MODEL, passes=2, seed=4), batch, noisy)["bald"].to_numpy()
    assert np.abs(other / together - 1).max() > 0.01


def test_a_model_without_dropout_says_so() -> None:
    with pytest.raises(ValueError, match=r"give `dropout: 0\.1`"):
        DropoutPasses(model=MODEL).load("cpu")


def test_a_models_own_dropout_is_used() -> None:
    torch.manual_seed(0)
    network = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2, n_positions=32))
    lm = CausalLm(network.eval(), None, find_head(network), None, 0, 32, 64, "cpu")
    ids = [np.arange(20, dtype=np.int32), np.zeros(0, np.int32)]
    found = noisy_lm.mutual_information(noisy_lm.noisy(lm, None), ids, np.arange(2, dtype=np.uint64), 1, 3)
    assert found.counts.tolist() == [19, 0]
    assert (found.values["bald"] > 0).all()


def test_nulls() -> None:
    got = scored(DropoutPasses(model=MODEL, passes=2), batch_of([None, "a cat", ""]), _model())
    assert (
        got["bald"].is_null().to_pylist() == got["mean_entropy"].is_null().to_pylist() == [True, False, True]
    )


def _model() -> noisy_lm.NoisyLm:
    return DropoutPasses(model=MODEL, dropout=0.5).load("cpu")
