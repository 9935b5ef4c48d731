"""What a training run says of its cost: energy, emissions, use of the device, and where the figures go."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError

from gpu_ops.trainer import energy, network, peaks
from gpu_ops.trainer.compare import Arm, compare
from gpu_ops.trainer.config import TrainConfig
from gpu_ops.trainer.config_parts import Energy, LlamaShape

torch.set_num_threads(1)
STORIES = str(Path(__file__).parents[2] / "configs/quickstart/stories260K")
SHAPE = LlamaShape(hidden=16, layers=1, heads=2)


@pytest.fixture
def trained(tmp_path):
    """Trains with settings; the comparison's table and the run's folder."""
    pq.write_table(pa.table({"text": ["A dog saw a cat. " * 20] * 4}), tmp_path / "a.parquet")

    def train(**fields) -> tuple[dict, Path]:
        config = TrainConfig(
            model=SHAPE, tokenizer=STORIES, tokens=256, seq_len=16, batch_size=2, evals=2, **fields
        )
        arms = [Arm("random", {0: str(tmp_path)}, True)]
        out = tmp_path / "out"
        return compare(config, arms, [0], str(tmp_path), str(out), 1), out / "random-0"

    return train


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_energy_and_emissions_by_given_factors(trained, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(energy.time, "perf_counter", lambda: 60.0 * next(clock))
    table, folder = trained(energy={"watts": 300, "pue": 1.1, "kg_co2e_per_kwh": 0.4})
    found = table["resources"]
    assert found["kwh"] > 0
    assert found["kwh"] / (0.3 / 60) == pytest.approx(round(found["kwh"] / (0.3 / 60)))  # whole minutes
    assert found["kg_co2e"] == pytest.approx(found["kwh"] * 1.1 * 0.4)
    assert rows(folder / "speed.jsonl")[-1]["kwh"] <= found["kwh"]


def test_no_factor_is_assumed(trained):
    table, _ = trained(energy={"watts": 300})
    assert table["resources"]["kwh"] > 0
    assert table["resources"]["kg_co2e"] is None
    table, _ = trained(lr=1e-3)
    assert table["resources"]["kwh"] is None
    with pytest.raises(ValidationError, match="either `measure: codecarbon` or `watts`"):
        Energy(pue=1.1, kg_co2e_per_kwh=0.4)


def test_codecarbon_measures(trained):
    pytest.importorskip("codecarbon")
    table, _ = trained(energy={"measure": "codecarbon"})
    assert 0 < table["resources"]["kwh"] < 0.01


def test_mfu_is_operations_a_second_by_the_peak(trained):
    table, folder = trained(peak_flops=1e9)
    result = json.loads((folder / "result.json").read_text())
    model = network.from_shape(SHAPE, 512, 16, 0)
    assert result["flops"] == pytest.approx(256 * network.flops_per_token(model, 16))
    assert result["mfu"] == pytest.approx(result["tokens_per_s"] * network.flops_per_token(model, 16) / 1e9)
    assert table["resources"]["mfu"] == result["mfu"]
    assert trained(lr=1e-3)[0]["resources"]["mfu"] is None  # a CPU's peak is not known


def test_the_longest_name_of_a_gpu_counts(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 PCIe")
    assert peaks.peak_flops("cuda:0") == 756.5e12
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA L40S")
    assert peaks.peak_flops("cuda:0") == 362e12
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Unheard of")
    assert peaks.peak_flops("cuda:0") is None


def test_bytes_by_dtype_add_up():
    model = network.from_shape(SHAPE, 50, 16, seed=0)
    model.model.norm.half()
    assert network.bytes_by_dtype(model) == {"float32": network.model_bytes(model) - 32, "float16": 32}


def test_figures_that_differ_from_run_to_run_are_kept_apart(trained):
    _, folder = trained()
    for row in rows(folder / "metrics.jsonl"):
        assert not {"tokens_per_s", "step_seconds", "peak_memory_bytes"} & set(row)
    speeds = rows(folder / "speed.jsonl")
    assert [row["step"] for row in speeds] == [4, 8]
    assert all(0 < row["step_seconds"] <= row["step_seconds_p95"] for row in speeds)


def test_tensorboard_gets_losses_and_speeds(trained):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, folder = trained(log=["tensorboard"])
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    losses = [row["loss"] for row in rows(folder / "metrics.jsonl") if "loss" in row]
    assert [event.value for event in board.Scalars("loss")] == pytest.approx(losses)
    assert [event.step for event in board.Scalars("domains/held-out")] == [4, 8]
    assert [event.step for event in board.Scalars("tokens_per_s")] == [4, 8]
