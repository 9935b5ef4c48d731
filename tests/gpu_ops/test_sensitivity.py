"""sensitivity against a loop of transformers, and that it depends on the row alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from scoring import scored
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from gpu_ops.kernels.word_noise import luck_of, noisy_text
from gpu_ops.sensitivity import Sensitivity

torch.set_num_threads(1)
TINY = str(Path(__file__).parents[2] / "configs/examples/tiny_classifier")
TEXTS = ["a wonderful , moving film .", "dull and lifeless .", "so bad that it is good", "x " * 90, "y"]
KEYS = [3, 14, 15, 92, 65]


def batch_of(texts: list[str | None]) -> pa.RecordBatch:
    arrays = {"text": pa.array(texts, pa.large_string()), "key": pa.array(KEYS[: len(texts)], pa.uint64())}
    return pa.RecordBatch.from_pydict(arrays)


@pytest.fixture(scope="module")
def model():
    return Sensitivity(model=TINY).load("cpu")


@pytest.mark.parametrize("worst_case", [True, False])
def test_it_is_the_divergence_that_a_loop_finds(model, worst_case):
    op = Sensitivity(model=TINY, seed=9, augmentations=6, rate=0.3, worst_case=worst_case)
    got = scored(op, batch_of(TEXTS), model)
    network = AutoModelForSequenceClassification.from_pretrained(TINY).eval()
    tokenizer = AutoTokenizer.from_pretrained(TINY)

    def says(text: str) -> torch.distributions.Categorical:
        with torch.inference_mode():
            ids = tokenizer(text, truncation=True, return_tensors="pt").input_ids
            return torch.distributions.Categorical(logits=network(ids).logits[0].double())

    for row, text in enumerate(TEXTS):
        own, found, flips = says(text), [], []
        for number in range(6):
            bits = luck_of(number, luck_of(9, np.array([KEYS[row]], np.uint64)))[0]
            other = says(noisy_text(text, op.kinds[number % 4], 0.3, int(bits)))
            found.append(torch.distributions.kl_divergence(own, other).item())
            flips.append(bool(own.probs.argmax() != other.probs.argmax()))
        want = max(found) if worst_case else sum(found) / 6
        assert got["sensitivity"][row].as_py() == pytest.approx(want, abs=1e-5)
        assert got["flipped"][row].as_py() == pytest.approx(sum(flips) / 6)
    assert max(got["sensitivity"].to_pylist()) > 1e-3


def test_it_depends_on_the_row_and_the_seed_alone(model):
    op = Sensitivity(model=TINY, seed=9)
    together = scored(op, batch_of(TEXTS), model)["sensitivity"].to_numpy()
    for i in range(len(TEXTS)):
        alone = scored(op, batch_of(TEXTS).slice(i, 1), model)["sensitivity"].to_numpy()
        np.testing.assert_allclose(alone, together[i : i + 1], atol=1e-6)
    other = scored(Sensitivity(model=TINY, seed=10), batch_of(TEXTS), model)["sensitivity"].to_numpy()
    assert not np.allclose(other, together, atol=1e-6)


def test_rows_without_text_have_nulls(model):
    got = scored(Sensitivity(model=TINY), batch_of(["", None, "\t", "fine"]), model)
    for column in got.values():
        assert [value is None for value in column.to_pylist()] == [True, True, True, False]
    none = scored(Sensitivity(model=TINY), batch_of([]), model)
    assert {name: column.type for name, column in none.items()} == dict(Sensitivity(model=TINY).adds)


def test_words_that_the_tokenizer_drops_change_nothing(model):
    """U+FFFD and control characters have no token: when only they are left, the text counts as unchanged."""
    got = scored(Sensitivity(model=TINY, kinds=("drop",), rate=1.0), batch_of(["\u0001 fine \u0002"]), model)
    assert np.isfinite(got["sensitivity"].to_numpy()).all()


def test_fields_are_checked():
    with pytest.raises(ValidationError):
        Sensitivity(model=TINY, kinds=())
    with pytest.raises(ValidationError):
        Sensitivity(model=TINY, kinds=("synonym",))


def test_a_text_of_few_words_and_many_blanks_is_compared_with_its_own_stretch() -> None:
    """Noise so rare that nothing changes: whatever is read of the text, it is read of both."""
    op = Sensitivity(model=TINY, kinds=("drop",), rate=1e-9, max_tokens=12)
    wide = (" " * 200).join(f"word{i}" for i in range(40))
    assert scored(op, batch_of([wide]), op.load("cpu"))["sensitivity"].to_pylist() == [0.0]
