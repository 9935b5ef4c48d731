"""Classification in the trainer: labelled data, both kinds of models, losses, metrics, resume."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load_file
from sklearn.metrics import f1_score
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForSequenceClassification

from gpu_ops.trainer import network, run
from gpu_ops.trainer.classification import ClassificationObjective, macro_f1
from gpu_ops.trainer.classifier import own_labels
from gpu_ops.trainer.compare import Arm, _jobs, compare
from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.config_parts import LlamaShape, MlpShape
from gpu_ops.trainer.feeds import make_feed, make_objective, make_schedule
from gpu_ops.trainer.labelled import Examples, read_labelled
from gpu_ops.trainer.stream import Vocabulary

torch.set_num_threads(1)
ROOT = Path(__file__).parents[2]
STORIES = str(ROOT / "configs/quickstart/stories260K")
BERT = str(ROOT / "configs/examples/tiny_classifier")
SHAPE = LlamaShape(hidden=16, layers=2, heads=2)


def config(**fields) -> TrainConfig:
    start = {"objective": "classification", "label": "label", "batch_size": 4, "seq_len": 24}
    start |= {} if {"tokens", "epochs"} & set(fields) else {"examples": 32}
    return TrainConfig(**{**start, "lr": 1e-2, "evals": 2, **fields})


def texts(**fields) -> TrainConfig:
    return config(**{"model": SHAPE, "tokenizer": STORIES, **fields})


def vectors(**fields) -> TrainConfig:
    return config(**{"model": MlpShape(mlp=(8,), dropout=0.3), "features": "embedding", **fields})


def export(folder: Path, rows: list[dict]) -> str:
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "part-0.parquet")
    return str(folder)


def rows_of(count: int, seed: int = 0) -> list[dict]:
    """A cat or a dog, told by a word and by the first number of the vector."""
    luck = np.random.default_rng(seed)
    found = []
    for number in range(count):
        kind = ("cat", "dog")[int(luck.integers(2))]
        vector = luck.normal(size=5).astype(np.float32)
        vector[0] += 4 if kind == "cat" else -4
        text = f"Number {number}: it was a {kind}" + " that ran" * int(luck.integers(4)) + "."
        found.append({"text": text, "label": kind, "embedding": vector.tolist(), "domain": f"d{number % 2}"})
    return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("labelled")
    return {"pool": export(folder / "pool", rows_of(40)), "held": export(folder / "held", rows_of(21, 1))}


def job_of(folders: dict[str, str], fields: TrainConfig, out: Path, shuffle: bool = True):
    return _jobs(fields, [Arm("random", {3: folders["pool"]}, shuffle)], [3], folders["held"], out)[1]


def metrics(job) -> list[dict]:
    return [json.loads(line) for line in (Path(job.folder) / "metrics.jsonl").read_text().splitlines()]


# The data


def test_documents_are_rows_with_their_label_and_number(folders, tmp_path):
    feed = make_feed(job_of(folders, texts(), tmp_path, shuffle=False))
    rows, vocabulary = rows_of(40), Vocabulary.load(STORIES)
    assert (feed.unit, feed.size) == ("rows", 40)
    batch = feed.batch(38, 4, 24)
    assert batch.rows.tolist() == [38, 39, 0, 1]
    for row, number in enumerate(batch.rows):
        ids = vocabulary.tokenizer.encode(rows[number]["text"]).ids[:24]
        assert ids[0] == vocabulary.bos
        assert batch.inputs[row].tolist() == ids + [0] * (batch.inputs.shape[1] - len(ids))
        assert batch.lengths[row] == len(ids)
        assert ("cat", "dog")[batch.targets[row]] == rows[number]["label"]
    assert feed.batch(0, 4, 5).inputs.shape == (4, 5)


def test_a_shuffled_epoch_holds_every_document_once_in_an_order_of_its_own(folders, tmp_path):
    feed = make_feed(job_of(folders, vectors(), tmp_path))
    epochs = [feed.batch(40 * k, 40, 1).rows.tolist() for k in range(3)]
    assert all(sorted(epoch) == list(range(40)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert make_feed(job_of(folders, vectors(), tmp_path)).batch(25, 30, 1).rows.tolist() == [
        *epochs[0][25:],
        *epochs[1][:15],
    ]


def test_rows_without_a_label_or_a_token_are_left_out_and_counted(tmp_path):
    rows = [{"text": t, "label": n} for t, n in [("a", 10), (None, 2), ("b", 9), (" ", 9), ("c", None)]]
    folder = export(tmp_path / "x", rows)
    data = read_labelled(folder, texts(), Vocabulary.load(STORIES), tmp_path)
    assert (data.rows, data.left_out) == (2, 3)
    held = export(tmp_path / "held", [{"text": "d", "label": 7}])
    out = tmp_path / "out"
    table = compare(texts(examples=4), [Arm("random", {0: folder}, True)], [0], held, str(out), 1)
    assert json.loads((out / "random-0/model/config.json").read_text())["id2label"] == {
        "0": "7", "1": "9", "2": "10",
    }  # fmt: skip
    assert "random-0: 3 of 5 documents" in " ".join(table["warnings"])
    assert "no arm has documents of the held-out classes ['7']" in " ".join(table["warnings"])
    assert table["arms"]["random"]["final"]["accuracy"]["all"]["mean"] == 0.0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a", "label": 0.5, "embedding": [1.0]}, "label 'label' is double; labels are strings"),
        ({"text": "a", "label": None, "embedding": [1.0]}, "none of its 1 documents has both"),
        ({"text": "a", "label": "x", "embedding": [float("nan")]}, r"row 0: 'embedding' holds a number"),
        ({"text": "a", "label": "x", "embedding": 3.0}, "needed are lists of numbers"),
        ({"text": "a", "label": "x"}, "no column 'embedding' among"),
    ],
)
def test_data_that_cannot_be_used_says_where(tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        read_labelled(export(tmp_path / "x", [row]), vectors(), None, tmp_path)


def test_vectors_of_several_lengths_are_refused(tmp_path):
    rows = [{"label": "x", "embedding": [1.0] * size} for size in (2, 3)]
    with pytest.raises(ValueError, match="row 1: 'embedding' has 3 numbers, others 2"):
        read_labelled(export(tmp_path / "x", rows), vectors(), None, tmp_path)


def test_json_lines_hold_labels_too(tmp_path):
    (tmp_path / "x").mkdir()
    lines = [json.dumps({"label": i % 2, "embedding": [i, 0.5]}) for i in range(4)]
    (tmp_path / "x/a.jsonl").write_text("\n".join(lines))
    data = read_labelled(str(tmp_path / "x"), vectors(), None, tmp_path)
    assert (data.rows, data.width, data.labels, data.integers) == (4, 2, ("0", "1"), True)


# Losses, scores, metrics


@pytest.mark.parametrize("fields", [texts(), texts(model=None, init=BERT, tokenizer=None)])
def test_the_loss_is_transformers_own_and_padding_does_not_change_it(folders, tmp_path, fields):
    job = job_of(folders, fields, tmp_path)
    model = network.build(fields, job.vocab, 0, "cpu", job.classes).eval()
    batch = make_feed(job).batch(0, 6, 24)
    losses = make_objective(job, model).logits(model, batch, "cpu").losses()
    for row in range(6):
        ids = torch.from_numpy(batch.inputs[row : row + 1, : batch.lengths[row]])
        want = model(input_ids=ids, labels=torch.tensor([batch.targets[row]])).loss
        assert losses[row].item() == pytest.approx(want.item(), rel=1e-5)


def test_scores_are_the_length_of_softmax_minus_one_hot(folders, tmp_path):
    job = job_of(folders, vectors(), tmp_path)
    model = network.build(vectors(), job.vocab, 0, "cpu", job.classes).eval()
    batch = make_feed(job).batch(0, 8, 1)
    said = make_objective(job, model).logits(model, batch, "cpu")
    losses, bounds = said.losses(), said.bounds()
    logits = model(torch.from_numpy(batch.inputs))
    for row, target in enumerate(batch.targets):
        one = logits[row].detach().requires_grad_()
        loss = torch.nn.functional.cross_entropy(one, torch.tensor(target))
        (gradient,) = torch.autograd.grad(loss, one)
        assert losses[row].item() == pytest.approx(loss.item(), rel=1e-5)
        assert bounds[row].item() == pytest.approx(gradient.norm().item(), rel=1e-5)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1))
def test_macro_f1_is_that_of_scikit_learn(pairs):
    truth, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    assert macro_f1(truth, predicted) == pytest.approx(f1_score(truth, predicted, average="macro"))


@pytest.mark.parametrize("fields", [texts(), vectors()])
def test_the_evaluation_is_by_domain(folders, tmp_path, fields):
    job = job_of(folders, fields, tmp_path)
    model = network.build(fields, job.vocab, 0, "cpu", job.classes)
    held = Examples(job.held, job.classes)
    objective = make_objective(job, model)
    got = objective.evaluate(model, held, "cpu")
    assert model.training == network.build(fields, job.vocab, 0, "cpu", job.classes).training
    batch = held.take(np.arange(held.size), 24)
    said = objective.logits(model.eval(), batch, "cpu")
    losses, inputs = said.losses().detach(), said.values.argmax(dim=-1).numpy()
    domains = np.array([row["domain"] for row in rows_of(21, 1)])
    for name in ("d0", "d1"):
        here = domains == name
        assert got["domains"][name] == pytest.approx(losses.numpy()[here].mean(), rel=1e-5)
        assert got["accuracy"]["domains"][name] == np.mean((inputs == batch.targets)[here])
    assert got["macro"] == pytest.approx(np.mean(list(got["domains"].values())))
    assert got["all"] == pytest.approx(losses.mean().item(), rel=1e-5)
    assert got["macro_f1"] == pytest.approx(f1_score(batch.targets, inputs, average="macro"))


# The models


def test_a_checkpoint_keeps_its_head_where_it_knows_the_classes():
    assert own_labels(BERT, ("neg", "pos")) == own_labels(BERT, ("pos",)) == ("neg", "pos")
    assert own_labels(BERT, ("0", "1")) == ("0", "1")
    assert own_labels(BERT, ("cat", "dog")) == own_labels(STORIES, ("a",)) == own_labels(None, ()) == ()
    fields = config(init=BERT)
    trained = load_file(f"{BERT}/model.safetensors")
    kept = network.build(fields, 100, 0, "cpu", ("neg", "pos")).state_dict()
    assert all(torch.equal(kept[name], trained[name]) for name in trained)
    one, same, other = (network.build(fields, 100, s, "cpu", ("a", "b", "c")) for s in (1, 1, 2))
    assert one.config.id2label == {0: "a", 1: "b", 2: "c"}
    weights = one.state_dict()
    assert all(torch.equal(weights[name], trained[name]) for name in trained if name.startswith("bert."))
    assert torch.equal(one.classifier.weight, same.classifier.weight)
    assert not torch.equal(one.classifier.weight, other.classifier.weight)


def test_a_language_model_gets_a_head():
    model = network.build(config(init=STORIES), 512, 0, "cpu", ("a", "b"))
    trained = load_file(f"{STORIES}/model.safetensors")
    weights = model.state_dict()
    assert all(torch.equal(weights[name], trained[name]) for name in trained if name in weights)
    assert type(model).__name__ == "LlamaForSequenceClassification"
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("fields", [texts(), config(init=BERT), vectors()])
def test_flops_agree_with_torchs_counter(fields):
    model = network.build(fields, 64, 0, "cpu", ("a", "b", "c"))
    if fields.features:
        inputs = (torch.zeros(4, 64),)
        want, tokens = 6 * 4 * (64 * 8 + 8 * 3), 4
        assert network.flops_per_token(model, 1) * tokens == want
        return
    model.set_attn_implementation("eager")
    inputs = torch.arange(2 * 24).reshape(2, 24) % 60 + 1
    model(input_ids=inputs)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=inputs).logits.sum().backward()
    assert network.flops_per_token(model, 24) == pytest.approx(counter.get_total_flops() / 48, rel=0.01)


# Runs


@pytest.mark.parametrize("fields", [vectors(), config(init=BERT)])
@pytest.mark.parametrize("killed_after", [1, 5])
def test_a_killed_run_with_dropout_goes_on_bit_for_bit(folders, tmp_path, fields, killed_after):
    fields = fields.model_copy(update={"checkpoint_every": 2})
    whole = job_of(folders, fields, tmp_path / "whole")
    want = run.train(whole, "cpu", lambda event: None)
    job = job_of(folders, fields, tmp_path / "killed")
    events = []
    with pytest.raises(run.Stopped):
        run.train(job, "cpu", events.append, lambda: len(events) == killed_after)
    got = run.train(job, "cpu", events.append)
    assert metrics(job) == metrics(whole)
    assert got["curve"] == want["curve"]


@pytest.mark.parametrize("fields", [texts(epochs=8), vectors(epochs=12)])
def test_training_learns_to_tell_the_classes_apart(folders, tmp_path, fields):
    arms = [Arm("random", {0: folders["pool"]}, True)]
    table = compare(fields, arms, [0], folders["held"], str(tmp_path), 1)
    final = table["arms"]["random"]["final"]
    assert final["accuracy"]["all"]["mean"] > 0.9 > table["baseline"]["accuracy"]["all"]
    assert final["all"]["mean"] < 0.7 * table["baseline"]["all"]
    assert table["arms"]["random"]["repeats"] == [pytest.approx(fields.epochs, rel=0.01)]


def test_vectors_in_float64(folders, tmp_path):
    single, double = (
        run.train(job_of(folders, vectors(dtype=dtype), tmp_path / dtype), "cpu", lambda event: None)
        for dtype in ("float32", "float64")
    )
    assert double["curve"][-1]["all"] == pytest.approx(single["curve"][-1]["all"], rel=0.2)
    assert set(double["bytes_by_dtype"]) == {"float64"}


def test_the_exported_model_gives_the_same_losses(folders, tmp_path):
    job = job_of(folders, texts(), tmp_path)
    result = run.train(job, "cpu", lambda event: None)
    again = AutoModelForSequenceClassification.from_pretrained(Path(job.folder) / "model")
    held = Examples(job.held, job.classes)
    got = ClassificationObjective(again.config.pad_token_id).evaluate(again, held, "cpu")
    assert got["all"] == pytest.approx(result["curve"][-1]["all"], rel=1e-5)
    assert again.config.id2label == {0: "cat", 1: "dog"}
    mlp = job_of(folders, vectors(), tmp_path / "mlp")
    run.train(mlp, "cpu", lambda event: None)
    model = Path(mlp.folder) / "model"
    assert json.loads((model / "config.json").read_text())["id2label"] == {"0": "cat", "1": "dog"}
    assert set(load_file(model / "model.safetensors")) == {
        "layers.0.weight", "layers.0.bias", "layers.3.weight", "layers.3.bias",
    }  # fmt: skip


def test_micro_batches_add_up_to_the_same_gradients(folders, tmp_path):
    one, two = (
        run.train(job_of(folders, texts(micro_batch=size), tmp_path / str(size)), "cpu", print)
        for size in (None, 3)
    )
    assert two["curve"][-1]["all"] == pytest.approx(one["curve"][-1]["all"], rel=1e-5)


def test_accuracies_of_arms_are_compared(folders, tmp_path):
    arms = [Arm(name, {0: folders["pool"], 1: folders["pool"]}, True, own) for name, own in
            [("random", {}), ("same", {}), ("still", {"lr": 1e-12})]]  # fmt: skip
    table = compare(vectors(epochs=10), arms, [0, 1], folders["held"], str(tmp_path), 1)
    same, still = (table["paired_accuracy"][name] for name in ("same", "still"))
    assert set(same) == {"d0", "d1", "macro", "all"}
    assert all(cell["mean difference to random"] == 0 for cell in same.values())
    assert still["all"]["mean difference to random"] < -0.1
    assert table["paired"]["still"]["all"]["mean difference to random"] > 0.1


def test_budgets_in_tokens_examples_and_epochs(folders, tmp_path):
    feed = make_feed(job_of(folders, texts(), tmp_path))
    mean = feed.corpus_tokens / 40
    assert make_schedule(texts(examples=30), feed).steps == 8
    assert make_schedule(texts(epochs=1.5), feed).steps == 15
    schedule = make_schedule(texts(tokens=round(mean * 40)), feed)
    assert schedule.steps in (10, 11)
    assert schedule.tokens_after(10) == feed.corpus_tokens


def test_wrong_settings_are_refused(folders, tmp_path):
    with pytest.raises(ValidationError, match="give one of `tokens`, `examples` and `epochs`"):
        texts(tokens=5, examples=5)
    with pytest.raises(ValidationError, match="needs `label`"):
        texts(label=None)
    with pytest.raises(ValidationError, match="belong to `objective: classification`"):
        texts(objective="causal_lm")
    with pytest.raises(ValidationError, match="go together"):
        texts(features="embedding")
    with pytest.raises(ValidationError, match="vectors have no tokens"):
        vectors(tokens=10)
    for part in ({"peft": {"peft_type": "LORA"}}, {"trainable": "bias"}, {"activation_checkpointing": True}):
        with pytest.raises(ValidationError, match="trained as a whole"):
            vectors(**part)
    with pytest.raises(ValueError, match="longer than the model's context, 64"):
        network.build(config(init=BERT, seq_len=65), 100, 0, "cpu", ("a", "b"))
    arms = [Arm("random", {0: folders["pool"]}, True, {"label": "domain"})]
    with pytest.raises(ValueError, match=r"cannot have \['label'\] of its own"):
        compare(texts(), arms, [0], folders["held"], str(tmp_path), 1)
    one = export(tmp_path / "one", rows_of(40)[:1])
    with pytest.raises(ValueError, match="nothing is to be told apart"):
        compare(texts(), [Arm("random", {0: one}, True)], [0], one, str(tmp_path), 1)
