"""Losses of language modelling beside the task: gradients of a hand-written loop, resume, FLOPs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import cross_entropy
from transformers import AutoModelForSequenceClassification

from gpu_ops.trainer import network, run
from gpu_ops.trainer.compare import Arm, _jobs
from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.config_parts import LlamaShape
from gpu_ops.trainer.stream import Stream
from gpu_ops.trainer.update import _gradients
from gpu_ops.trainer.world import Alone

torch.set_num_threads(1)
ROOT = Path(__file__).parents[2]
STORIES = str(ROOT / "configs/quickstart/stories260K")
SHAPE = LlamaShape(hidden=16, layers=2, heads=2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    made = {}
    for name, count in (("pool", 20), ("held", 9), ("more", 15)):
        folder = tmp_path_factory.mktemp(name)
        rows = [
            {"text": f"{name} {i}: once there was a {('cat', 'dog')[i % 2]} that ran.", "label": i % 2}
            for i in range(count)
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / "a.parquet")
        made[name] = str(folder)
    return made


def config(folders: dict[str, str], **fields) -> TrainConfig:
    start = {
        "objective": "classification", "label": "label", "examples": 24, "batch_size": 4, "seq_len": 16,
        "model": SHAPE, "tokenizer": STORIES, "evals": 2,
        "joint": [{"weight": 0.5}, {"folder": folders["more"], "weight": 0.25, "batch_size": 3}],
    }  # fmt: skip
    return TrainConfig(**{**start, **fields})


def job_of(folders: dict[str, str], fields: TrainConfig, out: Path):
    return _jobs(fields, [Arm("random", {3: folders["pool"]}, True)], [3], folders["held"], out)[1]


@pytest.mark.parametrize("micro", [None, 2])
@pytest.mark.parametrize("start", [{}, {"model": None, "init": STORIES}])
def test_gradients_are_those_of_a_loop_by_hand(folders, tmp_path, micro, start):
    fields = config(folders, micro_batch=micro, **start)
    job = job_of(folders, fields, tmp_path)
    sitting, _ = run._prepare(job, "cpu", Alone())
    step = 2
    sitting.draw.number = step
    drawn = sitting.draw.next(step, lambda batch, needs: None)
    loss, _ = _gradients(sitting, drawn, step)
    got = {name: p.grad.clone() for name, p in sitting.network.named_parameters()}

    model = network.build(fields, job.vocab, job.seed, "cpu", job.classes).train()
    task = 0.0
    for row, target in enumerate(drawn.batch.targets):
        ids = torch.from_numpy(drawn.batch.inputs[row : row + 1, : drawn.batch.lengths[row]])
        task = task + cross_entropy(model.classifier(input_ids=ids).logits, torch.tensor([target])) / 4
    total = task
    for path, weight, rows in zip(job.joint, (0.5, 0.25), (4, 3), strict=True):
        batch = Stream(path, job.seed, True).batch(step * rows * 16, rows, 16)
        logits = model.language(input_ids=torch.from_numpy(batch.inputs)).logits
        targets = torch.from_numpy(batch.targets)
        total = total + weight * cross_entropy(logits.flatten(0, 1), targets.flatten())
    total.backward()
    assert loss == pytest.approx(task.item(), rel=1e-5)
    want = {name: p.grad for name, p in model.named_parameters()}
    assert got.keys() == want.keys()
    for name in want:
        assert torch.allclose(got[name], want[name], rtol=1e-4, atol=1e-6), name


def test_the_body_is_shared_and_a_tied_head_with_it(folders, tmp_path):
    job = job_of(folders, config(folders), tmp_path)
    model = network.build(job.config, job.vocab, 0, "cpu", job.classes)
    assert model.language.model is model.classifier.model
    assert model.language.lm_head.weight is model.classifier.model.embed_tokens.weight
    alone = network.build(config(folders, joint=[]), job.vocab, 0, "cpu", job.classes)
    assert network.parameters(model) == network.parameters(alone)
    untied = config(folders, model=SHAPE.model_copy(update={"tie": False}))
    more = network.build(untied, job.vocab, 0, "cpu", job.classes)
    assert network.parameters(more) == network.parameters(alone) + 512 * 16


def test_a_killed_run_goes_on_bit_for_bit_and_flops_are_counted(folders, tmp_path):
    fields = config(folders, checkpoint_every=2)
    want = run.train(job_of(folders, fields, tmp_path / "whole"), "cpu", lambda event: None)
    job = job_of(folders, fields, tmp_path / "killed")
    events = []
    with pytest.raises(run.Stopped):
        run.train(job, "cpu", events.append, lambda: len(events) == 3)
    got = run.train(job, "cpu", events.append)
    assert got["curve"] == want["curve"]
    alone = run.train(job_of(folders, config(folders, joint=[]), tmp_path / "alone"), "cpu", print)
    language = network.from_shape(SHAPE, 512, 16, 0)
    added = 6 * (4 + 3) * 16 * network.flops_per_token(language, 16)
    assert got["flops"] == pytest.approx(alone["flops"] + added)
    assert got["curve"] != alone["curve"]
    saved = AutoModelForSequenceClassification.from_pretrained(Path(job.folder) / "model")
    assert type(saved).__name__ == "LlamaForSequenceClassification"


def test_a_language_model_takes_further_texts_too(folders, tmp_path):
    fields = config(folders, objective="causal_lm", label=None, joint=[{"folder": folders["more"]}])
    job = job_of(folders, fields, tmp_path)
    sitting, _ = run._prepare(job, "cpu", Alone())
    drawn = sitting.draw.next(0, lambda batch, needs: None)
    _gradients(sitting, drawn, 0)
    got = sitting.network.lm_head.weight.grad.clone()
    sitting.network.zero_grad()
    for path in (job.tokens, job.joint[0]):
        batch = Stream(path, job.seed, True).batch(0, 4, 16)
        ids, targets = torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets)
        cross_entropy(sitting.network(input_ids=ids).logits.flatten(0, 1), targets.flatten()).backward()
    assert torch.allclose(got, sitting.network.lm_head.weight.grad, rtol=1e-4, atol=1e-6)


def test_activation_checkpointing_is_of_the_shared_body(folders, tmp_path):
    losses = []
    for sparing in (False, True):
        fields = config(folders, activation_checkpointing=sparing)
        losses.append(run.train(job_of(folders, fields, tmp_path / str(sparing)), "cpu", print)["curve"])
    assert losses[0][-1]["all"] == pytest.approx(losses[1][-1]["all"], rel=1e-5)
    assert losses[0][-1]["flops"] < losses[1][-1]["flops"]


def test_what_cannot_be_joined_is_refused(folders, tmp_path):
    for part in ({"peft": {"peft_type": "LORA"}}, {"trainable": "bias"}, {"trainable": {"last": 1}}):
        with pytest.raises(ValidationError, match="leave out peft and trainable"):
            config(folders, **part)
    with pytest.raises(ValidationError, match="vectors do not allow"):
        config(folders, features="x", model={"mlp": []}, tokenizer=None)
    bert = str(ROOT / "configs/examples/tiny_classifier")
    with pytest.raises(ValueError, match="no trained causal language model"):
        network.build(config(folders, model=None, init=bert), 100, 0, "cpu", ("a", "b"))
    fields = config(folders, joint=[{"batch_size": 1}], micro_batch=2)
    with pytest.raises(ValueError, match="its 1 rows are fewer than the micro-batches"):
        run.train(job_of(folders, fields, tmp_path), "cpu", print)
    assert np.isfinite(fields.joint[0].weight)
