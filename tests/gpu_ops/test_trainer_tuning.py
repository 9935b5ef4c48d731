"""What the trainer trains of a model, what it keeps of that, and what it costs, beside peft and torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from pydantic import ValidationError
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

from gpu_ops.trainer import flops, keep, network, run, tuning
from gpu_ops.trainer.batch import IGNORED, Batch
from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.config_parts import LlamaShape
from gpu_ops.trainer.feeds import make_feed, make_schedule
from gpu_ops.trainer.job import Job
from gpu_ops.trainer.meter import Meter
from gpu_ops.trainer.objective import CausalLmObjective
from gpu_ops.trainer.stream import Vocabulary, tokenise

torch.set_num_threads(1)
# peft asks transformers under names that the latter is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
STORIES = str(Path(__file__).parents[2] / "configs/quickstart/stories260K")
SHAPE = LlamaShape(hidden=64, layers=3, heads=4, kv_heads=2)
LORA = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj", "v_proj"]}
ADALORA = {
    "peft_type": "ADALORA",
    "init_r": 4,
    "target_r": 2,
    "tinit": 1,
    "tfinal": 2,
    "target_modules": ["q_proj"],
}
PROMPT = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3}
PREFIX = {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3}
IA3 = {"peft_type": "IA3", "target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"]}


def config(**fields) -> TrainConfig:
    start = {"model": SHAPE, "tokenizer": STORIES, "tokens": 192, "seq_len": 16, "batch_size": 2, "evals": 2}
    return TrainConfig(**{**start, "lr": 1e-2, **fields})


def built(**fields):
    return network.build(config(**fields), 512, 0, "cpu", (), 6)


def gpt2(kind=GPT2LMHeadModel):
    torch.manual_seed(0)
    shape = GPT2Config(vocab_size=100, n_embd=64, n_layer=3, n_head=4, n_positions=64, pad_token_id=0)
    return kind(shape)


def trained(model) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_last_layers_are_those_after_the_first_ones():
    names = trained(built(trainable={"last": 1}))
    assert {name.split(".")[2] for name in names if ".layers." in name} == {"2"}
    assert {name for name in names if ".layers." not in name} == {"model.norm.weight"}  # the head is tied
    untied = built(trainable={"last": 2}, model=SHAPE.model_copy(update={"tie": False}))
    assert "lm_head.weight" in trained(untied)
    with pytest.raises(ValueError, match="last: 4, but the model has 3 layers"):
        built(trainable={"last": 4})


def test_bitfit_trains_biases_and_a_new_head():
    model = tuning.tuned(gpt2(), config(trainable="bias"), 0)
    assert trained(model) == {n for n, _ in model.named_parameters() if n.endswith("bias")}
    classifier = tuning.tuned(gpt2(GPT2ForSequenceClassification), config(trainable="bias"), 0)
    assert {n for n in trained(classifier) if not n.endswith("bias")} == {"score.weight"}
    with pytest.raises(ValueError, match="no biases"):
        built(trainable="bias")


def test_regular_expressions_choose_by_name():
    assert trained(built(trainable=["norm", r"layers\.0\.mlp"])) == {
        name for name, _ in built().named_parameters() if "norm" in name or "layers.0.mlp" in name
    }
    with pytest.raises(ValueError, match="no weight's name has 'nrm' in it; names are like model"):
        built(trainable=["nrm"])


@pytest.mark.parametrize("settings", [LORA, ADALORA, PROMPT, PREFIX, IA3], ids=lambda s: s["peft_type"])
def test_as_many_weights_are_trained_as_peft_says(settings):
    model = built(peft=settings)
    total = {"total_step": 6} if settings is ADALORA else {}
    fields = {"task_type": "CAUSAL_LM", **total, **settings}
    theirs = peft.get_peft_model(built(), peft.get_peft_config(fields))
    want, everything = theirs.get_nb_trainable_parameters()
    assert (network.trained_parameters(model), network.parameters(model)) == (want, everything)


def test_an_adapter_is_a_function_of_the_seed():
    one, two, other = (network.build(config(peft=LORA), 512, seed, "cpu") for seed in (0, 0, 1))
    name = next(n for n in trained(one) if "lora_A" in n)
    weights = [dict(m.named_parameters())[name] for m in (one, two, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValidationError, match="peft needs a `peft_type`"):
        config(peft={"r": 2})
    with pytest.raises(ValidationError, match="leaves nothing for `trainable`"):
        config(peft=LORA, trainable="bias")
    with pytest.raises(ValidationError, match="merge is of an adapter"):
        config(merge=True)
    with pytest.raises(ValueError, match="no configuration that peft takes"):
        built(peft={"peft_type": "LORA", "rank": 2})
    with pytest.raises(ValueError, match="no weights to merge"):
        built(peft=PROMPT, merge=True)


def test_losses_after_a_prompt_are_those_of_the_text():
    """Beside peft's own loss, which lines labels up behind the prompt."""
    model = built(peft=PROMPT).eval()
    ids = np.arange(24).reshape(2, 12) % 100
    batch = Batch(ids[:, :-1], ids[:, 1:], np.array([0, 1]))
    ours = CausalLmObjective().logits(model, batch, "cpu").losses().sum() / batch.targets.size
    labels = torch.from_numpy(ids).clone()
    labels[:, 0] = -100  # predicted from the prompt
    theirs = model(input_ids=torch.from_numpy(ids), labels=labels).loss
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


# Activation checkpointing, and costs


def test_activation_checkpointing_gives_the_same_gradients():
    plain, sparing = (
        built(dtype="float64").train(),
        built(dtype="float64", activation_checkpointing=True).train(),
    )
    assert all(layer.gradient_checkpointing for layer in sparing.model.layers)
    ids = np.arange(24).reshape(2, 12) % 100
    batch = Batch(ids[:, :-1], ids[:, 1:], np.array([0, 1]))
    for model in (plain, sparing):
        CausalLmObjective().logits(model, batch, "cpu").losses().sum().backward()
    for a, b in zip(plain.parameters(), sparing.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-12, atol=1e-12)


CASES = {
    "all": {},
    "lora": {"peft": LORA},
    "ia3": {"peft": IA3},
    "prompt": {"peft": PROMPT},
    "last": {"trainable": {"last": 1}},
    "bias": {"trainable": ["norm"]},
    "checkpointing": {"activation_checkpointing": True},
    "lora and checkpointing": {"peft": LORA, "activation_checkpointing": True},
}


@pytest.mark.parametrize("fields", CASES.values(), ids=CASES)
def test_cost_is_that_of_torchs_counter(fields):
    check_cost(built(**fields).train())


def test_cost_of_bitfit():
    check_cost(tuning.tuned(gpt2(), config(trainable="bias"), 0).train())


def check_cost(model) -> None:
    found = flops.cost(model)
    inner = model.get_base_model() if tuning.is_adapted(model) else model
    inner.set_attn_implementation("eager")
    ids = torch.arange(2 * 16).reshape(2, 16) % 100
    with FlopCounterMode(display=False) as counter:
        logits = model(input_ids=ids, use_cache=False).logits
        forward = counter.get_total_flops()
        logits.sum().backward()
        whole = counter.get_total_flops()
    assert 2 * found.of_looking(16) == pytest.approx(forward, rel=0.01)
    assert 2 * found.of_row(16) == pytest.approx(whole, rel=0.01)


@pytest.mark.parametrize("fields", [{}, {"peft": PROMPT}, {"peft": PREFIX}], ids=["all", "prompt", "prefix"])
@pytest.mark.filterwarnings("ignore:.*past_key_values:FutureWarning")
def test_targets_that_are_left_out_save_what_the_output_layer_saves(fields):
    model = built(**fields).train()
    inner = model.get_base_model() if tuning.is_adapted(model) else model
    meter = Meter(model, config(**fields), "cpu")
    inner.set_attn_implementation("eager")
    ids = np.arange(34).reshape(2, 17)
    batch = Batch(ids[:, :-1], np.where(ids[:, 1:] % 4, IGNORED, ids[:, 1:]), np.arange(2))
    with FlopCounterMode(display=False) as counter:
        CausalLmObjective().logits(model, batch, "cpu").losses().sum().backward()
    meter.trained(batch)
    assert meter.flops == pytest.approx(counter.get_total_flops(), rel=0.01)


@pytest.mark.parametrize("budget", [{"examples": 12}, {"epochs": 0.01}])
def test_adalora_knows_the_steps_of_every_budget(budget, tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "A dog saw a cat. " * 300}) + "\n")
    fields = config(
        model=None, init=STORIES, tokens=None, peft={**ADALORA, "tinit": 0, "tfinal": 0}, **budget
    )
    vocabulary = Vocabulary.load(STORIES)
    _, tokens = tokenise(str(tmp_path), vocabulary, tmp_path)
    job = Job("a", 0, fields, tokens, "", True, vocabulary.size, "", False, "")
    steps = make_schedule(fields, make_feed(job)).steps
    model = network.build(fields, vocabulary.size, 0, "cpu", (), steps)
    assert model.active_peft_config.total_step == steps > 0


def test_cost_of_all_is_the_formula():
    model = built().train()
    assert flops.cost(model).of_row(16) == pytest.approx(16 * network.flops_per_token(model, 16), rel=0.01)


def test_counting_leaves_the_model_as_it_is():
    model = built(peft=LORA).train()
    before = {name: p.clone() for name, p in model.named_parameters()}
    flops.cost(model)
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in model.named_parameters())
    assert model.config._attn_implementation == "sdpa"


# Runs


@pytest.fixture
def job_of(tmp_path):
    def make(name: str, **fields) -> Job:
        from gpu_ops.trainer import evaluate

        folder = tmp_path / "data"
        if not folder.exists():
            import pyarrow as pa
            import pyarrow.parquet as pq

            folder.mkdir()
            texts = [f"Once there was a dog. It ran to tree number {i}. " * (1 + i % 3) for i in range(12)]
            pq.write_table(pa.table({"text": texts}), folder / "part-0.parquet")
        vocabulary = Vocabulary.load(STORIES)
        _, tokens = tokenise(str(folder), vocabulary, tmp_path)
        evaluate.held_out(str(folder), vocabulary, 16)[1].save(tmp_path / "held.npz")
        held = str(tmp_path / "held.npz")
        return Job("arm", 3, config(**fields), tokens, held, True, 512, str(tmp_path / name), False, name)

    return make


def losses(job: Job) -> list[float]:
    lines = (Path(job.folder) / "metrics.jsonl").read_text().splitlines()
    return [row["loss"] for row in map(json.loads, lines) if "loss" in row]


@pytest.mark.parametrize("settings", [LORA, ADALORA, PROMPT], ids=lambda s: s["peft_type"])
def test_an_adapter_learns_and_goes_on_after_a_kill(job_of, settings):
    fields = {"peft": settings, "lr": 0.05, "tokens": 320, "checkpoint_every": 4}
    whole, killed = job_of("whole", **fields), job_of("killed", **fields)
    result = run.train(whole, "cpu", lambda event: None)
    assert all(np.isfinite(losses(whole)))
    assert result["trained_parameters"] < 0.1 * result["parameters"]
    events: list[dict] = []
    with pytest.raises(run.Stopped):
        run.train(killed, "cpu", events.append, lambda: len(events) == 5)
    saved = next((Path(killed.folder) / "checkpoints").glob("step-*")) / "tensors"
    size = sum(file.stat().st_size for file in saved.iterdir())
    assert size < 3 * 4 * result["trained_parameters"] + 10_000  # the weights and two moments
    run.train(killed, "cpu", lambda event: None)
    assert losses(killed) == losses(whole)
    assert not (Path(killed.folder) / "model").exists()
    assert (Path(killed.folder) / "adapter" / "adapter_config.json").exists()


def test_a_merged_adapter_is_a_whole_model_that_says_the_same(job_of):
    job = job_of("run", peft=LORA, merge=True, init=STORIES, model=None)
    run.train(job, "cpu", lambda event: None)
    merged = AutoModelForCausalLM.from_pretrained(Path(job.folder) / "model").eval()
    base = AutoModelForCausalLM.from_pretrained(STORIES).eval()
    adapted = peft.PeftModel.from_pretrained(base, Path(job.folder) / "adapter").eval()
    ids = torch.arange(12)[None]
    torch.testing.assert_close(merged(ids).logits, adapted(ids).logits, rtol=1e-4, atol=1e-4)


def test_adalora_ends_with_the_ranks_it_was_given(job_of, monkeypatch):
    kept = []
    monkeypatch.setattr(keep, "export_model", lambda sitting, folder: kept.append(sitting.network))
    run.train(job_of("run", peft=ADALORA, tokens=640), "cpu", lambda event: None)
    ranks = [sum(left) for left in kept[0].active_peft_config.rank_pattern.values()]
    assert sum(ranks) == 3 * 2  # target_r in each of three layers
    scales = [p for name, p in kept[0].named_parameters() if "lora_E" in name]
    assert sum(int((p != 0).sum()) for p in scales) <= 3 * 2


def test_adaloras_penalty_is_pefts():
    model = built(peft=ADALORA).eval()
    ids = torch.arange(12)[None]
    theirs = model(input_ids=ids, labels=ids).loss
    plain = model.get_base_model()(input_ids=ids, labels=ids).loss
    assert tuning.penalty(model).item() == pytest.approx((theirs - plain).item(), rel=1e-4)


def test_an_adapter_learns(job_of):
    job = job_of("run", peft={**LORA, "target_modules": "all-linear"}, init=STORIES, model=None, tokens=1280)
    curve = run.train(job, "cpu", lambda event: None)["curve"]
    assert curve[-1]["all"] < curve[0]["all"] - 0.005  # of the two halves of the run


@pytest.mark.parametrize(
    "fields",
    [
        {"packing": "best_fit", "boundaries": "keep"},
        {"pacing": {"kind": "root", "start": 0.3}},
        {"seq_len_warmup": {"start": 8, "multiple": 4}, "batch_ramp": {"start": 1}},
        {"seq_len_warmup": {"start": 8, "truncate": True}, "optimizer": "adafactor"},
    ],
    ids=["packed", "paced", "ramped", "truncated"],
)
def test_every_feed_goes_on_after_a_kill(job_of, fields):
    fields = {**fields, "checkpoint_every": 2, "tokens": 320}
    whole, killed = job_of("whole", **fields), job_of("killed", **fields)
    result = run.train(whole, "cpu", lambda event: None)
    assert result["tokens"] == pytest.approx(320, abs=32)
    events: list[dict] = []
    with pytest.raises(run.Stopped):
        run.train(killed, "cpu", events.append, lambda: len(events) == 3)
    run.train(killed, "cpu", lambda event: None)
    assert losses(killed) == losses(whole)
