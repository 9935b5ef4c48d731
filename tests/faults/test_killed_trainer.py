"""Kill -9 of the trainer at random steps and within a checkpoint: the losses are those of a run in peace."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from trained import STORIES, config_of, job_of, rows_of, train, weights_of, with_config
from transformers import GPT2Config, GPT2LMHeadModel

from gpu_ops.trainer import pool
from gpu_ops.trainer.job import Job

STEPS, INTERVAL = 30, 5
# Reads jobs from its input, and trains each in a process of its own that is forked from this one, which has
# loaded torch but not used it: so that starting again takes no seconds.
NURSERY = """
import os, pickle, sys
import torch
import transformers.models.gpt2.modeling_gpt2
from gpu_ops.trainer.launch import train_job
torch.set_num_threads(1)
while True:
    job, log = pickle.load(sys.stdin.buffer)
    pid = os.fork()
    if not pid:
        steps = open(log, "ab", buffering=0)
        train_job(job, "cpu", progress=lambda event: steps.write(b"%d\\n" % event["step"]))
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@dataclass
class Nursery:
    process: subprocess.Popen[bytes]

    def run(self, job: Job, log: Path, ripe: Callable[[int], bool] = lambda pid: False) -> bool:
        """Trains; kills as soon as it is ripe. Whether it was killed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        pickle.dump((job, str(log)), self.process.stdin)
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        stat = Path(f"/proc/{pid}/stat")
        while stat.exists() and stat.read_text().split()[2] not in "ZX":
            if ripe(pid):
                os.kill(pid, signal.SIGKILL)
                break
            time.sleep(0.0005)
        code = int(self.process.stdout.readline())
        assert code in (0, -signal.SIGKILL)
        return code != 0


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", NURSERY], stdin=pipe, stdout=pipe, env=environment)
    yield Nursery(process)
    process.kill()
    process.communicate()


def restless_job(tmp_path: Path, name: str, select: dict) -> Job:
    """A GPT-2 with dropout, trained on what a selection chooses."""
    torch.set_num_threads(1)
    init = tmp_path / "init"
    if not init.exists():
        shape = GPT2Config(vocab_size=512, n_positions=32, n_embd=16, n_layer=2, n_head=2)
        shape.bos_token_id = shape.eos_token_id = None
        assert shape.resid_pdrop == 0.1
        torch.manual_seed(0)
        GPT2LMHeadModel(shape).save_pretrained(init)
    tokens = STEPS * 3 * 16
    fields = {"init": str(init), "tokenizer": STORIES, "tokens": tokens, "batch_size": 3, "micro_batch": 2}
    fields |= {"select": select, "checkpoint_every": INTERVAL}
    return job_of(tmp_path, name, config_of(**fields))


def within_a_checkpoint(job: Job) -> Callable[[int], bool]:
    """Ripe while a checkpoint is being written: it is held still to be sure."""
    partial = Path(job.folder) / "checkpoints/.partial/tensors"

    def ripe(pid: int) -> bool:
        if len(steps_of(job)) < 3 * INTERVAL or not partial.exists():
            return False
        os.kill(pid, signal.SIGSTOP)
        if partial.exists():
            return True
        os.kill(pid, signal.SIGCONT)
        return False

    return ripe


def log_of(job: Job) -> Path:
    return Path(f"{job.folder}.steps")


def steps_of(job: Job) -> list[int]:
    return [int(line) for line in log_of(job).read_text().split()] if log_of(job).exists() else []


@pytest.mark.parametrize(
    ("select", "kills"),
    [
        ({"kind": "selective_backprop", "ring": 32, "cap": 90}, 3),
        pytest.param({"kind": "gradient_bound", "min_tau": 1, "cap": 90}, 12, marks=pytest.mark.slow),
        pytest.param({"kind": "auto_assist", "warm": 9}, 12, marks=pytest.mark.slow),
    ],
)
def test_kills_leave_the_same_losses(tmp_path, nursery, select, kills):
    whole = restless_job(tmp_path, "whole", select)
    want = train(whole, alone=True)
    job = restless_job(tmp_path, "killed", select)
    moments = sorted(random.Random(select["kind"]).sample(range(2, STEPS), kills))
    ripe = [lambda pid, moment=moment: len(steps_of(job)) >= moment for moment in moments]
    ripe.insert(kills // 2, within_a_checkpoint(job))
    starts: list[int] = []  # how many steps were told of before each attempt
    killed = halves = 0
    for attempt, moment in enumerate([*ripe, lambda pid: False]):
        starts.append(len(steps_of(job)))
        # Readers are no part of what is trained.
        killed += nursery.run(with_config(job, data_workers=attempt % 3), log_of(job), moment)
        halves += (Path(job.folder) / "checkpoints/.partial").exists()
        if job.finished():
            break
    told = steps_of(job)
    assert killed >= 3
    assert halves >= 1
    for start in starts[1:]:
        last, first = (told[start - 1] if start else 0), told[start]
        assert last - first < INTERVAL
    assert rows_of(job) == rows_of(whole)
    got = job.finished()
    assert got is not None
    assert got["curve"] == want["curve"]
    weights = weights_of(job)
    assert all(torch.equal(weights[name], weight) for name, weight in weights_of(whole).items())
    assert not (Path(job.folder) / "checkpoints").exists()


def test_trainers_end_with_their_driver():
    code = """
from gpu_ops.trainer.pool import Pool
if __name__ == "__main__":
    pool = Pool(2, "cpu", 1)
    pool.warm_up()
    print(*pool._executor._processes, flush=True)
    input()
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    driver = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, env=environment)
    assert driver.stdin is not None
    assert driver.stdout is not None
    mine = [int(pid) for pid in driver.stdout.readline().split()]
    assert len(mine) == 2
    driver.kill()
    driver.wait()
    for end_of_pipe in (driver.stdin, driver.stdout):
        end_of_pipe.close()
    end = time.monotonic() + 60
    while any(map(runs, mine)):
        assert time.monotonic() < end, "trained on without a driver"
        time.sleep(0.05)


def test_a_trainer_that_does_not_answer_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(pool, "CLOSE_S", 0.1)
    stuck = pool.Pool(2, "cpu", 1)
    stuck.warm_up()
    assert stuck._executor is not None
    pids = list(stuck._executor._processes)
    os.kill(pids[0], signal.SIGSTOP)
    stuck.close()
    # Asked of the system: whichever of the pool's threads does not reap a process takes it for alive.
    end = time.monotonic() + 60
    while any(map(runs, pids)):
        assert time.monotonic() < end, "a process that does not answer is still there"
        time.sleep(0.05)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
