"""classifier_scores against transformers and torch, its dropout, its labels, and the models it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import entropy
from scoring import scored
from torch.nn.functional import cross_entropy, one_hot
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from gpu_ops.classifier_scores import ClassifierScores
from gpu_ops.kernels.classify import noisy_passes, sequences

torch.set_num_threads(1)
ROOT = Path(__file__).parents[2]
TINY = str(ROOT / "configs/examples/tiny_classifier")
STORIES = str(ROOT / "configs/quickstart/stories260K")
TEXTS = [
    "a wonderful , moving film .",
    "dull and lifeless .",
    "so bad that it is good",
    "an engrossing portrait of a man " * 20,
    "x",
]
GOLD = ["pos", "neg", "neg", "pos", None]


def batch_of(texts: list[str | None], **columns: list) -> pa.RecordBatch:
    key = pa.array(range(10, 10 + len(texts)), pa.uint64())
    arrays = {"text": pa.array(texts, pa.large_string()), "key": key}
    return pa.RecordBatch.from_pydict(arrays | {name: pa.array(column) for name, column in columns.items()})


def logits_of(folder: str, texts: list[str]) -> torch.Tensor:
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    limit = min(tokenizer.model_max_length, model.config.max_position_embeddings)
    with torch.inference_mode():
        each = [tokenizer(text, truncation=True, max_length=limit, return_tensors="pt") for text in texts]
        return torch.cat([model(one.input_ids).logits for one in each]).double()


@pytest.fixture(scope="module")
def tiny():
    return ClassifierScores(model=TINY).load("cpu")


def test_the_columns_are_those_of_transformers_and_torch(tiny):
    op = ClassifierScores(model=TINY, labels="gold")
    got = scored(op, batch_of(TEXTS, gold=GOLD), tiny)
    assert {name: column.type for name, column in got.items()} == dict(op.adds)
    logits = logits_of(TINY, TEXTS)
    p = logits.softmax(-1)
    np.testing.assert_allclose(np.array(got["probabilities"].to_pylist()), p, atol=1e-5)
    assert got["predicted"].to_pylist() == [("neg", "pos")[i] for i in p.argmax(-1).tolist()]
    np.testing.assert_allclose(got["confidence"].to_numpy(), p.max(-1).values, atol=1e-5)
    np.testing.assert_allclose(got["least_confidence"].to_numpy(), 1 - p.max(-1).values, atol=1e-5)
    np.testing.assert_allclose(got["margin"].to_numpy(), (p[:, 0] - p[:, 1]).abs(), atol=1e-5)
    own = torch.distributions.Categorical(logits=logits).entropy()
    np.testing.assert_allclose(got["entropy"].to_numpy(), own, atol=1e-5)
    label = torch.tensor([1, 0, 0, 1])
    loss = cross_entropy(logits[:4], label, reduction="none")
    np.testing.assert_allclose(got["loss"].to_numpy(zero_copy_only=False)[:4], loss, atol=1e-5)
    np.testing.assert_allclose(got["p_label"].to_numpy(zero_copy_only=False)[:4], (-loss).exp(), atol=1e-5)
    el2n = (p[:4] - one_hot(label, 2)).norm(dim=1)
    np.testing.assert_allclose(got["el2n"].to_numpy(zero_copy_only=False)[:4], el2n, atol=1e-5)
    assert [got[name][4].as_py() for name in ("p_label", "loss", "el2n")] == [None] * 3


def test_labels_may_be_numbers(tiny):
    by_name = scored(ClassifierScores(model=TINY, labels="gold"), batch_of(TEXTS, gold=GOLD), tiny)
    op = ClassifierScores(model=TINY, labels="gold")
    by_number = scored(op, batch_of(TEXTS, gold=[1, 0, 0, 1, -100]), tiny)
    assert by_number["loss"].equals(by_name["loss"])


@pytest.mark.parametrize(("value", "shown"), [("negative", "'negative'"), ("0", "'0'"), ("", "''")])
def test_an_unknown_label_is_named(tiny, value, shown):
    op = ClassifierScores(model=TINY, labels="gold")
    with pytest.raises(ValueError, match=rf"the column 'gold' has the label {shown}.*'neg', 'pos'.*no_label"):
        scored(op, batch_of(["a", "b"], gold=["pos", value]), tiny)
    with pytest.raises(ValueError, match="label '2', which is no class"):
        scored(op, batch_of(["a", "b"], gold=[1, 2]), tiny)
    fine = ClassifierScores(model=TINY, labels="gold", no_label=(value,))
    got = scored(fine, batch_of(["a", "b"], gold=["pos", value]), tiny)
    assert got["loss"][1].as_py() is None


def test_rows_without_text_have_nulls(tiny):
    op = ClassifierScores(model=TINY, labels="gold")
    got = scored(op, batch_of(["", None, " \n", "fine"], gold=["pos"] * 4), tiny)
    for column in got.values():
        assert [value is None for value in column.to_pylist()] == [True, True, True, False]
    for n in (0, 1):
        none = scored(op, batch_of([None] * n, gold=pa.array(["pos"] * n, pa.string())), tiny)
        assert {name: column.type for name, column in none.items()} == dict(op.adds)


def test_no_score_depends_on_the_batch_not_even_under_dropout():
    op = ClassifierScores(model=TINY, passes=4, seed=3)
    model = op.load("cpu")
    together = scored(op, batch_of(TEXTS), model)
    for i in range(len(TEXTS)):
        alone = scored(op, batch_of(TEXTS).slice(i, 1), model)
        for name in op.adds:
            want, got = together[name].to_pylist()[i], alone[name].to_pylist()[0]
            assert got == want if isinstance(want, str) else got == pytest.approx(want, abs=1e-5)
    other = scored(ClassifierScores(model=TINY, passes=4, seed=4), batch_of(TEXTS), model)
    assert not np.allclose(other["bald"].to_numpy(), together["bald"].to_numpy(), atol=1e-4)
    np.testing.assert_array_equal(other["entropy"].to_numpy(), together["entropy"].to_numpy())


def test_the_passes_are_kept_one_after_the_other():
    op = ClassifierScores(model=TINY, passes=4, keep_passes=True, seed=3)
    found = scored(op, batch_of([*TEXTS, None]), op.load("cpu"))
    assert found["pass_probabilities"].to_pylist()[5] is None
    passes = np.array(found["pass_probabilities"].to_pylist()[:5]).reshape(5, 4, 2)
    np.testing.assert_allclose(passes.sum(axis=2), 1, atol=1e-6)
    entropies = entropy(passes.mean(axis=1), axis=1) - entropy(passes, axis=2).mean(axis=1)
    np.testing.assert_allclose(found["bald"].to_pylist()[:5], entropies, atol=1e-6)


def test_dropout_is_that_of_training_in_distribution():
    """Against the model in training mode, without dropout of attention weights: the first two moments."""
    op = ClassifierScores(model=TINY, passes=600, seed=1)
    model = op.load("cpu")
    _, inputs = sequences(model.plain, TEXTS[:1])
    keys = np.array([5], np.uint64)
    got = np.exp(noisy_passes(model.noisy, inputs, keys, 1, 600)[:, 0, 1])
    plain = AutoModelForSequenceClassification.from_pretrained(TINY, attention_probs_dropout_prob=0.0)
    ids = AutoTokenizer.from_pretrained(TINY)(TEXTS[0], return_tensors="pt").input_ids
    torch.manual_seed(0)
    with torch.no_grad():
        want = plain.train()(ids.expand(600, -1)).logits.softmax(-1)[:, 1].numpy()
    spread = float(want.std())
    assert spread > 0.003
    assert got.mean() == pytest.approx(float(want.mean()), abs=6 * spread / 600**0.5)
    assert got.std() == pytest.approx(spread, rel=0.35)


def test_a_decoder_classifies_by_its_last_token(tmp_path):
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=512, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=64, num_labels=3,
    )  # fmt: skip
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(STORIES).save_pretrained(tmp_path)
    op = ClassifierScores(model=str(tmp_path))
    got = np.array(scored(op, batch_of(TEXTS), op.load("cpu"))["probabilities"].to_pylist())
    np.testing.assert_allclose(got, logits_of(str(tmp_path), TEXTS).softmax(-1), atol=1e-5)
    with pytest.raises(ValueError, match=r"no active dropout module.*dropout: 0\.1"):
        ClassifierScores(model=str(tmp_path), passes=2).load("cpu")


def test_models_that_are_no_trained_classifier_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"its weights lack .*it is no trained sequence classifier"):
        ClassifierScores(model=STORIES).load("cpu")
    with pytest.raises(FileNotFoundError, match=r"name a folder with config\.json"):
        ClassifierScores(model="./nowhere").load("cpu")
    shutil.copytree(TINY, tmp_path / "one")
    config = json.loads((tmp_path / "one/config.json").read_text())
    multi = {**config, "problem_type": "multi_label_classification"}
    (tmp_path / "one/config.json").write_text(json.dumps(multi))
    with pytest.raises(ValueError, match="needed is a classifier that gives every text one of two or more"):
        ClassifierScores(model=str(tmp_path / "one")).load("cpu")
    (tmp_path / "one/config.json").write_text(json.dumps(config))
    (tmp_path / "one/model.safetensors").unlink()
    torch.save({}, tmp_path / "one/pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin is a pickle"):
        ClassifierScores(model=str(tmp_path / "one")).load("cpu")


def test_fields_are_checked():
    with pytest.raises(ValidationError, match="does nothing without `passes`"):
        ClassifierScores(model=TINY, dropout=0.1)
    with pytest.raises(ValidationError, match="does nothing without `passes`"):
        ClassifierScores(model=TINY, keep_passes=True)
    with pytest.raises(ValidationError):
        ClassifierScores(model=TINY, passes=1)
