"""How the processes of a job are started, what the driver hears of them, and how one that fails ends all."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from trained import config_of, job_of, rows_of, train, with_config

from gpu_ops.trainer import launch
from gpu_ops.trainer.config_parts import Parallel
from gpu_ops.trainer.run import Stopped

torch.set_num_threads(1)
LOCAL = Parallel(launcher="local", timeout_s=60)


def kill_other(event: dict) -> None:
    if event["step"] == 9:
        other = next(p for p in multiprocessing.active_children() if p.name == "train-1")
        os.kill(other.pid, signal.SIGKILL)


def test_a_killed_process_ends_the_others_and_one_alone_can_go_on(tmp_path):
    fields = config_of(parallel=LOCAL, tokens=640, checkpoint_every=1)
    whole, job = (job_of(tmp_path, name, fields) for name in ("whole", "both"))
    want = train(whole, alone=True)
    with pytest.raises(RuntimeError, match=r"arm-3: process 1 of 2 was killed \(SIGKILL\)"):
        launch.train_job(job, "cpu", progress=kill_other)
    told: list[dict] = []
    got = launch.train_job(with_config(job, parallel=None), "cpu", progress=told.append)
    assert told[0]["step"] >= 9  # a kill costs one interval between checkpoints at most
    assert told[-1]["step"] == 20
    assert got["curve"][-1]["all"] == pytest.approx(want["curve"][-1]["all"], rel=1e-5)
    assert job.finished() == got
    losses, expected = ([row["loss"] for row in rows_of(j, "loss")] for j in (job, whole))
    assert losses == pytest.approx(expected)


@pytest.mark.slow
def test_processes_stop_when_asked_and_go_on(tmp_path):
    job = job_of(tmp_path, "both", config_of(parallel=LOCAL, tokens=640, checkpoint_every=1))
    told: list[dict] = []
    with pytest.raises(Stopped, match="arm-3 after step"):
        launch.train_job(job, "cpu", progress=told.append, stop=lambda: bool(told))
    stopped = told[-1]["step"]
    launch.train_job(job, "cpu", progress=told.append)
    assert [event["step"] for event in told] == [*range(1, stopped + 1), *range(stopped + 1, 21)]


@pytest.mark.slow
def test_an_error_in_one_process_ends_the_others_and_says_where(tmp_path):
    job = job_of(tmp_path, "run", config_of(parallel=LOCAL, checkpoint_every=1))
    folder = Path(job.folder) / "checkpoints"

    def spoil(event: dict) -> None:
        """A file where the folder of checkpoints was."""
        while not folder.is_file():
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(IsADirectoryError):
                folder.write_text("no folder")

    with pytest.raises(OSError, match="checkpoint of step") as failure:
        launch.train_job(job, "cpu", progress=spoil)
    assert failure.value.__notes__ == ["in process 0 of 2"]
    assert str(failure.value.__cause__).startswith("process 0 of 2:\n")


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore:`.* is deprecated:DeprecationWarning:ray")  # it copies its own settings
def test_ray_train_gives_the_same(tmp_path, ray_engine):
    fields = config_of(parallel=Parallel(launcher="auto", timeout_s=60), checkpoint_every=1)
    whole, job = (job_of(tmp_path, name, fields) for name in ("whole", "both"))
    want = train(whole, alone=True)
    told: list[dict] = []
    got = launch.train_job(job, "cpu", progress=told.append)
    assert got["curve"][-1]["all"] == pytest.approx(want["curve"][-1]["all"], rel=1e-5)
    assert [event["step"] for event in told] == list(range(1, 7))
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []
    many = job_of(tmp_path, "many", config_of(parallel=Parallel(processes=64)))
    with pytest.raises(RuntimeError, match="64 processes of 1 threads need as many CPUs; the cluster has 2"):
        launch.train_job(many, "cpu")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`.* is deprecated:DeprecationWarning:ray")
def test_an_error_on_ray_says_where(tmp_path, ray_engine):
    wild = job_of(tmp_path, "wild", config_of(lr=1e30, clip=1e30, warmup=0, tokens=3200, parallel=Parallel()))
    with pytest.raises(FloatingPointError, match="lower lr") as failure:
        launch.train_job(wild, "cpu")
    assert "of 2 on" in str(failure.value.__cause__)


@pytest.mark.slow
def test_torchrun_gives_the_same(tmp_path):
    fields = config_of(parallel=Parallel(kind="fsdp"), checkpoint_every=2)
    whole, job = (job_of(tmp_path, name, fields) for name in ("whole", "both"))
    want = train(whole, alone=True)
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import sys
sys.path[:0] = {[str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]}
from pathlib import Path
from trained import config_of, job_of
from gpu_ops.trainer.config_parts import Parallel
from gpu_ops.trainer.launch import train_job
job = job_of(Path({str(tmp_path)!r}), "both", config_of(parallel=Parallel(kind="fsdp"), checkpoint_every=2))
train_job(job, "cpu")
"""
    )
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*run, str(script)], check=True, capture_output=True, env=environment, timeout=300)
    got = job.finished()
    assert got is not None
    assert got["curve"][-1]["all"] == pytest.approx(want["curve"][-1]["all"], rel=1e-5)
