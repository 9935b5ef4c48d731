"""Selectors inside a training: resumed bit for bit, skips, costs, masks, and a language model's tau."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel

from gpu_ops.trainer import network, run
from gpu_ops.trainer.batch import IGNORED, Batch
from gpu_ops.trainer.compare import Arm
from gpu_ops.trainer.compare import _jobs as jobs_of
from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.config_parts import LlamaShape
from gpu_ops.trainer.config_select import SelectConfig
from gpu_ops.trainer.draw import Draw
from gpu_ops.trainer.job import Job
from gpu_ops.trainer.meter import Meter
from gpu_ops.trainer.objective import CausalLmObjective, by_row
from gpu_ops.trainer.schedule import Schedule
from gpu_ops.trainer.select.build import build
from gpu_ops.trainer.select.selector import Scores

torch.set_num_threads(1)
STORIES = str(Path(__file__).parents[3] / "configs/quickstart/stories260K")
STORY = "Once upon a time there was a dog. The dog ran to a tree and saw a cat. "
REFERENCE = "REFERENCE"  # stands for a folder that only a test has

SELECTIONS: list[dict[str, Any]] = [
    {"kind": "gradient_bound", "noise": "accepted"},
    {"kind": "gradient_bound", "min_tau": 1.0, "momentum": 0.5, "cap": 90},
    {"kind": "biased_loss", "exponent": 0.5, "cap": 90},
    {"kind": "biased_loss", "losses": "history", "smoothing": 0.5, "noise": "accepted", "candidates": 2},
    {"kind": "selective_backprop", "noise": "accepted"},
    {"kind": "selective_backprop", "noise": "accepted", "beta": 2, "reuse": 2, "ring": 20},
    {"kind": "auto_assist", "warm": 4, "gamma": 0.1, "buckets": 64, "ring": 8},
    {"kind": "self_paced", "cap": 0.7, "warmup": 0.2},
    {"kind": "self_paced", "cap": 0.7, "warmup": 0.2, "losses": "own", "weights": "linear"},
    {"kind": "reducible_loss", "reference": REFERENCE, "candidates": 3},
    {"kind": "reducible_loss", "ema": 0.9, "noise": "accepted", "choice": "proportional", "candidates": 2},
    {"kind": "backward_mask", "keep": 0.5},
    {"kind": "backward_mask", "keep": 0.5, "rule": "excess", "reference": REFERENCE},
    {"kind": "backward_mask", "keep": 0.5, "rule": "band", "low": 0.25, "unit": "rows"},
    {"kind": "biased_loss", "cap": 90, "placebo": True},
]
NAMES = [f"{k}-{'-'.join(str(v) for v in one.values())}" for k, one in enumerate(SELECTIONS)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    """Documents, whose tokens make whole rows; a small GPT-2 with dropout; another as a reference."""
    base = tmp_path_factory.mktemp("in-loop")
    for name, count in (("pool", 13), ("held", 3)):
        (base / name).mkdir()
        texts = [f"{STORY} Number {i}. " * (1 + i % 3) for i in range(count)]
        pq.write_table(pa.table({"text": texts}), base / name / "part-0.parquet")
    for seed, name in enumerate(("gpt2", "reference")):
        torch.manual_seed(seed)
        shape = GPT2Config(vocab_size=512, n_embd=16, n_layer=2, n_head=2, n_positions=32)
        GPT2LMHeadModel(replace_dropout(shape)).save_pretrained(base / name)
    return {name: str(base / name) for name in ("pool", "held", "gpt2", "reference")}


def replace_dropout(shape: GPT2Config) -> GPT2Config:
    shape.resid_pdrop = shape.embd_pdrop = shape.attn_pdrop = 0.2
    shape.bos_token_id = shape.eos_token_id = None
    return shape


def job_of(folders: dict[str, str], out: Path, select: dict[str, Any] | None, **fields: Any) -> Job:
    if select and select.get("reference") == REFERENCE:
        select = {**select, "reference": folders["reference"]}
    start = {"init": folders["gpt2"], "tokenizer": STORIES, "tokens": 640, "seq_len": 16, "batch_size": 4}
    config = TrainConfig(
        **{**start, "lr": 1e-2, "evals": 1, "checkpoint_every": 2, "select": select, **fields}
    )
    arms = [Arm("arm", {3: folders["pool"]}, False)]
    job = jobs_of(config, arms, [3], folders["held"], out)[1]
    whole_rows(job.tokens)
    return job


def whole_rows(path: str) -> None:
    """Cuts the tokens so that rows of 16 divide them: rows have numbers then."""
    ids, ends = np.fromfile(f"{path}.ids", np.int32), np.load(f"{path}.ends.npy")
    size = len(ids) // 16 * 16
    ids[:size].tofile(f"{path}.ids")
    np.save(f"{path}.ends.npy", np.append(ends[ends < size], size))


def metrics(job: Job) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(job.folder) / "metrics.jsonl").read_text().splitlines()]


def steps(job: Job) -> list[dict[str, Any]]:
    return [row for row in metrics(job) if "lr" in row]


@pytest.mark.parametrize("select", SELECTIONS, ids=NAMES)
def test_a_killed_run_goes_on_to_the_same_metrics_bit_for_bit(tmp_path, folders, select) -> None:
    whole = job_of(folders, tmp_path / "whole", select)
    want = run.train(whole, "cpu", lambda event: None)
    job = job_of(folders, tmp_path / "killed", select)
    events: list[Any] = []
    for kill_at in (3, 8):
        with pytest.raises(run.Stopped):
            run.train(job, "cpu", events.append, lambda at=kill_at: bool(events and events[-1]["step"] == at))
    got = run.train(job, "cpu", events.append)
    assert len(steps(job)) == 10
    assert metrics(job) == metrics(whole)
    assert got["curve"] == want["curve"]
    assert got["flops"] == want["flops"]
    assert all("looked_at" in row for row in steps(job))


def test_rows_that_wait_are_trained_on_and_survive(tmp_path, folders) -> None:
    """Off, the switch takes the rows of plain training, three steps to a batch of candidates."""
    plain = job_of(folders, tmp_path / "plain", None, checkpoint_every=1)
    off = job_of(folders, tmp_path / "off", SELECTIONS[0], checkpoint_every=1)
    losses = []
    for job in (plain, off):
        events: list[Any] = []
        with pytest.raises(run.Stopped):
            run.train(job, "cpu", events.append, lambda seen=events: len(seen) == 2)
        run.train(job, "cpu", events.append)
        losses.append([row["loss"] for row in steps(job)])
    assert losses[0] == losses[1]
    assert all(row["on"] == 0 for row in steps(off) if "on" in row)
    assert run.train(off, "cpu", lambda event: None)["looking_flops"] == 0


def test_on_a_language_model_the_bound_never_pays(tmp_path, folders) -> None:
    select = {"kind": "gradient_bound", "noise": "accepted"}
    job = job_of(
        folders, tmp_path, select, init=STORIES, tokens=64 * 8 * 30, batch_size=8, seq_len=64, lr=1e-3
    )
    result = run.train(job, "cpu", lambda event: None)
    taus = [row["tau"] for row in steps(job) if "tau" in row]
    assert taus[-1] < 1.1  # an average of 28 of them, from 0
    assert result["looking_flops"] == 0
    select |= {"min_tau": 1.0, "momentum": 0.0}
    on = job_of(folders, tmp_path / "on", select, init=STORIES, seq_len=64, tokens=64 * 4 * 12)
    assert run.train(on, "cpu", lambda event: None)["looking_flops"] > 0
    assert all(row["tau_now"] < 1.15 for row in steps(on) if "tau_now" in row)


VECTORS = [one for k, one in enumerate(SELECTIONS) if k in (1, 3, 5, 6, 8, 9, 10, 13)]


def classifier_job(folders: dict[str, str], out: Path, select: dict[str, Any] | None) -> Job:
    if select and select.get("reference") == REFERENCE:
        select = {**select, "reference": folders["mlp"]}
    config = TrainConfig(
        model={"mlp": [16], "dropout": 0.3},
        objective="classification",
        label="label",
        features="vector",
        examples=48,
        batch_size=4,
        micro_batch=3,
        lr=1e-2,
        evals=1,
        checkpoint_every=2,
        select=select,
    )
    return jobs_of(config, [Arm("arm", {3: folders["vectors"]}, True)], [3], folders["vectors"], out)[1]


@pytest.fixture(scope="module")
def vectors(folders, tmp_path_factory) -> dict[str, str]:
    """40 vectors of three classes, and a model of them for a reference."""
    base = tmp_path_factory.mktemp("vectors")
    luck = np.random.default_rng(0)
    (base / "vectors").mkdir()
    columns = {"label": luck.integers(0, 3, 40), "vector": list(luck.normal(size=(40, 6)).astype(np.float32))}
    pq.write_table(pa.table(columns), base / "vectors/part-0.parquet")
    found = {**folders, "vectors": str(base / "vectors"), "mlp": str(base / "out/arm-3/model")}
    run.train(classifier_job(found, base / "out", None), "cpu", lambda event: None)
    return found


@pytest.mark.parametrize("select", VECTORS, ids=[str(k) for k in range(len(VECTORS))])
def test_a_classifier_of_vectors_goes_on_too(tmp_path, vectors, select) -> None:
    whole = classifier_job(vectors, tmp_path / "whole", select)
    want = run.train(whole, "cpu", lambda event: None)
    job = classifier_job(vectors, tmp_path / "killed", select)
    events: list[Any] = []
    with pytest.raises(run.Stopped):
        run.train(job, "cpu", events.append, lambda: len(events) == 7)
    got = run.train(job, "cpu", events.append)
    assert metrics(job) == metrics(whole)
    assert (got["curve"], got["flops"]) == (want["curve"], want["flops"])


class Fixed:
    """A feed of numbered rows, and scores that are their numbers."""

    unit = "rows"
    size, corpus_tokens = 1000, 1000

    def batch(self, start: int, rows: int, seq_len: int) -> Batch:
        numbers = np.arange(start, start + rows)
        return Batch(numbers[:, None].astype(np.float32), numbers % 2, numbers)


def scored(batch: Batch, needs: frozenset[str]) -> Scores:
    value = np.random.default_rng(int(batch.rows[0])).exponential(size=len(batch))
    return Scores(**dict.fromkeys(needs, value))


CLASSIFIED = [one for one in SELECTIONS if one.get("unit") != "rows"]


def drawing(select: dict[str, Any], skipped: set[int]) -> Draw:
    config: SelectConfig = TypeAdapter(SelectConfig).validate_python(select)
    settings = {"init": "x", "tokens": 16 * 160, "seq_len": 16, "batch_size": 4, "select": select}
    schedule = Schedule.of(TrainConfig(**settings), "rows")
    return Draw(Fixed(), schedule, build(config, 3, 40), skipped=skipped)


@pytest.mark.parametrize("select", CLASSIFIED, ids=[str(k) for k in range(len(CLASSIFIED))])
def test_after_a_skip_the_run_is_one_that_never_had_the_batches(select) -> None:
    never, late = drawing(select, {4, 5}), drawing(select, set())
    for step in range(40):
        plain, arrays = late.state()
        before = json.loads(json.dumps(plain)), {name: np.array(one) for name, one in arrays.items()}
        one, two = (draw.next(step, scored) for draw in (never, late))
        if late.number > 4 and 4 not in late.skipped:  # the step goes wrong: back to the state before it
            late = drawing(select, set())
            late.restore(*before)
            late.skip([4, 5])
            two = late.next(step, scored)
        assert one.batch.rows.tolist() == two.batch.rows.tolist()
        assert one.weights.tolist() == two.weights.tolist()
        assert (one.targets, one.told, one.numbers) == (two.targets, two.told, two.numbers)
        assert not {4, 5} & set(two.numbers)
        for draw, drawn in ((never, one), (late, two)):
            draw.selector.learn(drawn.batch, scored(drawn.batch, frozenset({"loss", "bound"})))


def test_rows_of_a_batch_that_is_skipped_do_not_wait_on() -> None:
    draw = drawing({"kind": "gradient_bound", "noise": "accepted"}, set())
    draw.next(0, scored)
    assert [part.number for part in draw.waiting] == [0]
    draw.skip([0])
    assert draw.next(1, scored).numbers == (1,)


def test_a_selector_that_takes_nothing_is_told_of(monkeypatch) -> None:
    monkeypatch.setattr("gpu_ops.trainer.draw._MOST_BATCHES", 5)
    select = {"kind": "selective_backprop", "beta": 1e6, "noise": "accepted", "ring": 10**6}
    with pytest.raises(RuntimeError, match="none of the rows of 5 batches; loosen it"):
        drawing(select, set()).next(0, lambda batch, needs: Scores(loss=np.zeros(4)))


# Costs


def model_and_batch(seed: int = 0) -> tuple[Any, Batch]:
    shape = LlamaShape(hidden=32, layers=2, heads=2)
    model = network.from_shape(shape, 300, 16, seed)
    tokens = np.random.default_rng(seed).integers(0, 300, (4, 17))
    return model, Batch(tokens[:, :-1], tokens[:, 1:], np.full(4, -1))


def masked(batch: Batch, keep: float, seed: int = 1) -> Batch:
    kept = np.random.default_rng(seed).random(batch.targets.shape) < keep
    return replace(batch, targets=np.where(kept, batch.targets, IGNORED))


@pytest.mark.parametrize("keep", [1.0, 0.4])
def test_the_meter_counts_what_torch_counts(keep) -> None:
    model, batch = model_and_batch()
    batch = masked(batch, keep) if keep < 1 else batch
    model.set_attn_implementation("eager")
    config = TrainConfig(init="x", tokens=1)
    meter = Meter(model, config, "cpu")
    with FlopCounterMode(display=False) as counter:
        CausalLmObjective().logits(model, batch, "cpu").losses().sum().backward()
    meter.trained(batch)
    assert meter.flops == pytest.approx(counter.get_total_flops(), rel=0.01)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        CausalLmObjective().logits(model, batch, "cpu")
    meter.looked(batch, model)
    assert meter.spent["looking_flops"] == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_every_forward_pass_is_counted(tmp_path, folders) -> None:
    cost = {}
    for name, select in (
        ("plain", None),
        ("fresh", {"kind": "biased_loss", "cap": 90, "candidates": 3}),
        ("gap", {"kind": "reducible_loss", "reference": REFERENCE, "candidates": 3}),
        ("mask", {"kind": "backward_mask", "keep": 0.5}),
    ):
        job = job_of(folders, tmp_path / name, select)
        cost[name] = run.train(job, "cpu", lambda event: None)
    whole = cost["plain"]["flops"]
    assert cost["fresh"]["flops"] == pytest.approx(2 * whole)  # 3 candidates, a third each
    assert cost["gap"]["looking_flops"] == pytest.approx(2 * whole)
    assert cost["mask"]["flops"] == pytest.approx(whole - 640 * 3 * 512 * 16)


# Masks and bounds


def gradients(model: Any) -> torch.Tensor:
    found = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    return found


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_masked_gradient_is_that_of_the_masked_loss(kind) -> None:
    model, batch = model_and_batch()
    if kind == "gpt2":
        shape = GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=2, n_positions=16)
        model = GPT2LMHeadModel(shape).eval()
    less = masked(batch, 0.4)
    states: list[torch.Tensor] = []
    model.base_model.register_forward_hook(lambda module, given, out: states.append(out[0].detach()))
    whole = CausalLmObjective().logits(model, batch, "cpu").losses()
    (whole * torch.from_numpy(less.targets != IGNORED)).sum().backward()
    want = gradients(model)
    some = CausalLmObjective().logits(model, less, "cpu")
    assert len(some.values) == less.learned.sum()
    some.losses().sum().backward()
    got = gradients(model)
    assert torch.equal(states[0], states[1])  # the forward pass, bit for bit
    assert ((got - want).norm() / want.norm()).item() < 1e-6
    kept = torch.from_numpy(less.targets != IGNORED)
    torch.testing.assert_close(some.losses()[kept], whole[kept].detach(), rtol=1e-6, atol=1e-6)
    assert not some.losses()[~kept].any()


def test_a_batch_without_a_target_has_no_gradient() -> None:
    model, batch = model_and_batch()
    logits = CausalLmObjective().logits(model, masked(batch, 0.0), "cpu")
    assert logits.losses().sum() == 0
    logits.losses().sum().backward()
    assert not gradients(model).any()
    assert not logits.bounds().any()


def test_the_bound_is_the_length_of_the_gradient_of_the_logits() -> None:
    model, batch = model_and_batch()
    for one in (batch, masked(batch, 0.3)):
        logits = CausalLmObjective().logits(model, one, "cpu")
        losses = by_row(logits.losses())
        for row in range(4):
            (grad,) = torch.autograd.grad(losses[row], logits.values, retain_graph=True)
            assert logits.bounds()[row].item() == pytest.approx(grad.norm().item(), rel=1e-5)


def test_a_sure_models_bound_does_not_cancel() -> None:
    logits = CausalLmObjective().logits(*model_and_batch(), "cpu")
    z = torch.zeros(64, 300)
    z[:, 0] = 30.0
    sure = replace(logits, values=z, targets=torch.zeros(64, dtype=torch.long))
    other = 299 * np.exp(-30.0)
    want = np.sqrt(16 * (other**2 + 299 * np.exp(-60.0)))
    assert sure.bounds().numpy() == pytest.approx(want, rel=1e-4)


# Settings


def valid(**select: Any) -> Any:
    return TypeAdapter(SelectConfig).validate_python(select)


@pytest.mark.parametrize("kind", ["gradient_bound", "biased_loss", "selective_backprop", "reducible_loss"])
def test_who_seeks_losses_is_asked_about_noise(kind) -> None:
    fields = {"kind": kind, **({"ema": 0.9} if kind == "reducible_loss" else {})}
    with pytest.raises(ValidationError, match="noise: accepted"):
        valid(**fields)
    valid(**fields, cap=90)
    valid(**fields, noise="accepted")


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(ValidationError, match="either `reference`"):
        valid(kind="reducible_loss", cap=90)
    with pytest.raises(ValidationError, match="noise: accepted"):
        valid(kind="backward_mask", keep=0.5, rule="highest")
    with pytest.raises(ValidationError, match="goes with the rule"):
        valid(kind="backward_mask", keep=0.5, rule="excess")
    with pytest.raises(ValidationError, match="ends above 1"):
        valid(kind="backward_mask", keep=0.5, rule="band", low=0.6)
    with pytest.raises(ValidationError, match="above cap"):
        valid(kind="self_paced", start=0.8, cap=0.7)


def test_a_reference_of_another_vocabulary_is_told_of(tmp_path, folders) -> None:
    shape = GPT2Config(vocab_size=100, n_embd=16, n_layer=1, n_head=2, n_positions=32)
    GPT2LMHeadModel(shape).save_pretrained(tmp_path / "small")
    select = {"kind": "reducible_loss", "reference": str(tmp_path / "small")}
    with pytest.raises(ValueError, match="knows the tokens 100, the trained model 512"):
        run.train(job_of(folders, tmp_path / "out", select), "cpu", print)
    with pytest.raises(FileNotFoundError, match="reference: no checkpoint folder"):
        job_of(folders, tmp_path, {"kind": "reducible_loss", "reference": str(tmp_path / "none")})
