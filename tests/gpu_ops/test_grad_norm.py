"""grad_norm against torch's autograd on transformers' own loss, and what it does with texts and memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer

from gpu_ops.grad_norm import GradNorm
from gpu_ops.kernels import sequence_norms
from gpu_ops.lm_loss import LmLoss
from operators.contract import Columns

torch.set_num_threads(1)
MODEL = str(Path(__file__).parents[2] / "configs/quickstart/stories260K")
TEXTS = [
    "Once upon a time, there was a little girl named Lily. She loved to play outside.",
    "x",
    "def f(x):\n    return x ** 2  # naïve ☃ 中文 🙂",
    "the cat sat " * 25,
    "One day, Tim saw a big dog. The dog was sad.",
]


def scored(op: GradNorm | LmLoss, texts: list[str | None]) -> Columns:
    lm = op.load("cpu")
    batch = pa.RecordBatch.from_arrays([pa.array(texts, pa.large_string())], ["text"])
    return op.columns(op.prepare(batch, lm), lm)


def autograd(text: str, wanted: str, max_length: int | None = None) -> tuple[float, float, int]:
    """Loss, the norm of its gradient by the parameters in whose names `wanted` is, tokens."""
    network = AutoModelForCausalLM.from_pretrained(MODEL).eval()
    ids = AutoTokenizer.from_pretrained(MODEL)(text, return_tensors="pt").input_ids[:, :max_length]
    if wanted == "head":
        network.lm_head.weight = torch.nn.Parameter(network.lm_head.weight.detach().clone())  # no longer tied
        wanted = "lm_head"
    loss = network(input_ids=ids, labels=ids).loss
    loss.backward()
    norms = [p.grad.norm().item() for name, p in network.named_parameters() if wanted in name]
    assert norms
    return loss.item(), float(np.linalg.norm(norms)), ids.shape[1] - 1


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, "head"),
        ({"kind": "full"}, ""),
        ({"kind": "full", "parameters": ("*mlp*",)}, "mlp"),
        ({"max_tokens": 7}, "head"),
        ({"kind": "full", "max_tokens": 7, "batch_tokens": 32}, ""),
    ],
)
def test_norms_are_those_of_autograd(fields, wanted):
    got = scored(GradNorm(model=MODEL, **fields), TEXTS)
    length = fields["max_tokens"] + 1 if "max_tokens" in fields else None
    losses, norms, tokens = zip(*(autograd(text, wanted, length) for text in TEXTS), strict=True)
    np.testing.assert_allclose(got["loss"], losses, rtol=1e-5)
    np.testing.assert_allclose(got["grad_norm"], norms, rtol=1e-5)
    assert got["scored_tokens"].to_pylist() == list(tokens)


def test_the_bound_of_lm_loss_is_above_and_meets_it_for_one_token():
    for count in (1, 30):
        bound = scored(LmLoss(model=MODEL, max_tokens=count), TEXTS)["grad_bound"].to_numpy()
        norm = scored(GradNorm(model=MODEL, max_tokens=count), TEXTS)["grad_norm"].to_numpy()
        assert (norm <= bound * (1 + 1e-5)).all()
        assert count > 1 or norm == pytest.approx(bound, rel=1e-5)


def test_a_long_document_is_judged_by_its_first_window():
    text = "Lily saw a dog and ran. " * 20
    got = scored(GradNorm(model=MODEL, batch_tokens=32), [text])
    loss, norm, tokens = autograd(text, "head", 32)
    assert got["scored_tokens"].to_pylist() == [31] == [tokens]
    assert (got["loss"][0].as_py(), got["grad_norm"][0].as_py()) == pytest.approx((loss, norm), rel=1e-5)


@pytest.mark.parametrize("kind", ["last_layer", "full"])
def test_texts_without_tokens_have_no_norm(kind):
    op = GradNorm(model=MODEL, kind=kind)
    got = scored(op, ["", "a cat", None])
    assert got["grad_norm"].is_null().to_pylist() == got["loss"].is_null().to_pylist() == [True, False, True]
    assert got["scored_tokens"].to_pylist()[::2] == [0, 0]
    nothing = scored(op, [])
    assert {name: column.type for name, column in nothing.items()} == dict(op.adds)


@pytest.mark.parametrize("kind", ["last_layer", "full"])
def test_out_of_memory_halves_the_batch_and_goes_on(kind, monkeypatch):
    op = GradNorm(model=MODEL, kind=kind)
    want = scored(op, TEXTS[:1] * 5)["grad_norm"].to_numpy()
    whole, sizes = getattr(sequence_norms, kind), []

    def small(lm, pieces):
        sizes.append(len(pieces))
        if len(pieces) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(lm, pieces)

    monkeypatch.setattr(sequence_norms, kind, small)
    np.testing.assert_allclose(scored(op, TEXTS[:1] * 5)["grad_norm"], want, rtol=1e-5)
    assert sizes == [5, 3, 2, 1, 2]


@pytest.mark.parametrize("kind", ["last_layer", "full"])
def test_bfloat16_is_close(kind):
    got = scored(GradNorm(model=MODEL, kind=kind, max_tokens=32, dtype="bfloat16"), TEXTS)
    want = scored(GradNorm(model=MODEL, kind=kind, max_tokens=32), TEXTS)
    np.testing.assert_allclose(got["grad_norm"], want["grad_norm"], rtol=5e-2)


def test_fields_are_checked():
    with pytest.raises(ValidationError, match="nothing without `kind: full`"):
        GradNorm(model=MODEL, parameters=("*mlp*",))
    with pytest.raises(ValidationError, match="names none"):
        GradNorm(model=MODEL, kind="full", parameters=())
    with pytest.raises(
        ValueError, match=r"'layers\.0\.mlp\*', which fits none of the model's, such as model\."
    ):
        GradNorm(model=MODEL, kind="full", parameters=("layers.0.mlp*",)).load("cpu")
