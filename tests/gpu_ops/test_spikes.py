"""The loss-spike rule: what it calls a spike, and that a run then equals one without those batches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gpu_ops.trainer import run
from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.config_parts import LlamaShape, SpikeRule
from gpu_ops.trainer.evaluate import held_out
from gpu_ops.trainer.job import Job
from gpu_ops.trainer.spikes import Step, Watch
from gpu_ops.trainer.stream import Vocabulary

torch.set_num_threads(1)
STORIES = str(Path(__file__).parents[2] / "configs/quickstart/stories260K")
ROWS, SEQ_LEN = 2, 16


def watch_of(losses, rule=None, now=lambda number: 1.0):
    """The batches that are called a spike: batch k is step k's."""
    watch = Watch(rule or SpikeRule())
    for k, loss in enumerate(losses):
        if found := watch.see(Step(k + 1, loss, (k,)), now):
            return found
    return watch.end(now)


def noise(n: int, level: float = 1.0) -> list[float]:
    return (level + 0.03 * np.random.default_rng(0).standard_normal(n)).tolist()


def test_single_batches_that_stand_out_are_a_spike():
    assert watch_of([*noise(100), 4.0, *noise(50)]) == {100}
    assert watch_of([*noise(100), 4.0, 1.0, 4.0, *noise(50)]) == {100, 102}


def test_a_loss_that_stays_high_is_a_spike_if_the_model_was_hurt_and_else_a_change_of_the_data():
    jump = [*noise(100), *noise(60, 3.0)]
    assert watch_of(jump, now=lambda number: 2.9) == {100, 101, 102, 103, 104}
    assert watch_of(jump, now=lambda number: 1.3) == set()
    assert watch_of(jump, now=lambda number: float("nan")) == {100, 101, 102, 103, 104}


def test_after_a_change_the_new_losses_are_the_measure():
    assert watch_of([*noise(100), *noise(60, 3.0), 6.0, *noise(20, 3.0)]) == {160}


def test_numbers_that_are_none_are_a_spike_at_once():
    assert watch_of([1.0, 1.0, float("nan"), 1.0]) == {2}
    assert watch_of([*noise(100), 5.0, float("inf")]) == {100, 101}


def test_the_last_steps_are_judged_too():
    assert watch_of([*noise(100), 4.0]) == {100}
    assert watch_of([*noise(100), 4.0, 1.0]) == {100}


def test_falling_losses_raise_no_alarm():
    falling = 2.0 * np.exp(-np.arange(500) / 60) + 1.0
    assert watch_of((falling + 0.02 * np.random.default_rng(1).standard_normal(500)).tolist()) == set()


def test_the_state_goes_on_where_it_was():
    losses = [*noise(60), 4.0, *noise(20)]
    first = Watch(SpikeRule(window=30))
    for k, loss in enumerate(losses[:50]):
        first.see(Step(k, loss, (k,)), lambda number: 1.0)
    second = Watch(SpikeRule(window=30))
    second.restore(json.loads(json.dumps(first.state())))
    assert second == first


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Tokens of two languages, one after the other; in `planted`, two batches of noise."""
    folder = tmp_path_factory.mktemp("spikes")
    rng = np.random.default_rng(7)
    words = [rng.integers(3, 250, (40, 8)), rng.integers(250, 500, (40, 8))]
    halves = [language[rng.integers(0, 40, 2100)].ravel() for language in words]
    tokens = np.concatenate(halves).astype(np.int32)[:33_000]
    planted = tokens.copy()
    for number in (130, 133):
        size = ROWS * SEQ_LEN
        planted[number * size : (number + 1) * size] = rng.integers(3, 512, size)
    for name, array in (("clean", tokens), ("planted", planted)):
        array.tofile(folder / f"{name}.ids")
        np.save(folder / f"{name}.ends.npy", np.array([len(array)]))
    (folder / "held").mkdir()
    (folder / "held/a.jsonl").write_text('{"text": "a dog saw a cat"}\n')
    _, held = held_out(str(folder / "held"), Vocabulary.load(STORIES), SEQ_LEN)
    held.save(folder / "held.npz")
    return folder


def job_of(data: Path, folder: Path, tokens: str, steps: int, **fields) -> Job:
    shape = LlamaShape(hidden=32, layers=1, heads=2)
    common = {
        "model": shape,
        "tokenizer": STORIES,
        "seq_len": SEQ_LEN,
        "batch_size": ROWS,
        "evals": 1,
        "lr": 0.01,
    }
    settings = {**common, "checkpoint_every": 30, **fields}
    config = TrainConfig(tokens=steps * ROWS * SEQ_LEN, **settings)
    held = str(data / "held.npz")
    return Job("arm", 0, config, str(data / tokens), held, False, 512, str(folder), False, "identity")


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_change_of_the_data_raises_no_alarm_in_a_thousand_steps(data, tmp_path):
    job = job_of(data, tmp_path / "run", "clean", 1000, spikes=SpikeRule())
    result = run.train(job, "cpu", lambda event: None)
    losses = [row["loss"] for row in lines(tmp_path / "run/metrics.jsonl") if "loss" in row]
    assert max(losses[525:540]) > np.mean(losses[500:520]) + 2  # there was a change
    assert result["spikes"] == []


def test_a_run_with_a_spike_equals_one_that_never_had_its_batches(data, tmp_path):
    job = job_of(data, tmp_path / "run", "planted", 150, spikes=SpikeRule())
    events: list[dict] = []
    result = run.train(job, "cpu", events.append)
    assert [spike["batches"] for spike in result["spikes"]] == [[130, 133]]
    again = [event["step"] for event in events[134:]]
    assert again[0] == 121  # from the last checkpoint before
    never = job_of(data, tmp_path / "never", "planted", 150, skip_batches=(130, 133))
    run.train(never, "cpu", lambda event: None)
    found, wanted = (lines(tmp_path / name / "metrics.jsonl") for name in ("run", "never"))
    assert [row.pop("flops") for row in found if "flops" in row] > [
        row.pop("flops") for row in wanted if "flops" in row
    ]
    assert found == wanted
    assert torch.equal(*(weights(tmp_path / name / "model") for name in ("run", "never")))


def test_the_best_model_is_not_one_from_behind_a_spike(data, tmp_path):
    best = {"evals": 75, "early_stop": {"patience": 75, "on": "all"}}
    job = job_of(data, tmp_path / "run", "planted", 150, spikes=SpikeRule(), **best)
    result = run.train(job, "cpu", lambda event: None)
    never = job_of(data, tmp_path / "never", "planted", 150, skip_batches=(130, 133), **best)
    wanted = run.train(never, "cpu", lambda event: None)
    assert len(result["spikes"]) == 1
    assert result["kept"] == wanted["kept"]
    assert torch.equal(*(weights(tmp_path / name / "model") for name in ("run", "never")))
    assert not (tmp_path / "run/candidates").exists()


def weights(folder: Path) -> torch.Tensor:
    from safetensors.torch import load_file

    return torch.cat([tensor.flatten() for tensor in load_file(folder / "model.safetensors").values()])


def test_a_run_that_dies_after_a_spike_still_knows_it(data, tmp_path):
    whole = job_of(data, tmp_path / "whole", "planted", 145, spikes=SpikeRule())
    run.train(whole, "cpu", lambda event: None)
    job = job_of(data, tmp_path / "run", "planted", 145, spikes=SpikeRule())
    events: list[dict] = []
    with pytest.raises(run.Stopped):
        run.train(job, "cpu", events.append, lambda: len(events) == 136)
    result = run.train(job, "cpu", events.append)
    assert len(result["spikes"]) == 1
    assert torch.equal(*(weights(tmp_path / name / "model") for name in ("run", "whole")))


def test_too_many_spikes_stop_the_run(data, tmp_path):
    rule = SpikeRule(most=1)
    job = job_of(data, tmp_path / "run", "planted", 150, spikes=rule, lr=1e30, clip=1e30, warmup=0)
    with pytest.raises(FloatingPointError, match=r"after 1 spikes were left out .*spikes\.jsonl"):
        run.train(job, "cpu", lambda event: None)
