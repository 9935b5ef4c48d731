"""Batches that are read ahead are those that are read when needed, in whatever order they are asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trained import config_of, job_of, rows_of, train, with_config

from gpu_ops.trainer.ahead import Ahead
from gpu_ops.trainer.schedule import Schedule
from gpu_ops.trainer.stream import Stream

LENGTHS = [3, 40, 5, 16, 1, 9]


@pytest.fixture(scope="module")
def stream(tmp_path_factory) -> Stream:
    folder = tmp_path_factory.mktemp("stream")
    ends = np.cumsum(LENGTHS)
    np.arange(ends[-1], dtype=np.int32).tofile(folder / "t.ids")
    np.save(folder / "t.ends.npy", ends)
    return Stream(str(folder / "t"), 5, True)


@settings(max_examples=20)
@given(
    asked=st.lists(st.integers(0, 40), max_size=12),
    skipped=st.sets(st.integers(0, 40)),
    workers=st.integers(1, 3),
)
def test_any_order_gives_the_same(stream, asked, skipped, workers):
    place = Schedule.of(config_of()).place
    ahead = Ahead(stream, place, skipped, workers)
    for number in [*range(4), *asked]:
        assert np.array_equal(ahead.read(number).inputs, stream.batch(*place(number)).inputs)
        assert not (skipped & ahead.coming)
    ahead.close()


def test_losses_do_not_depend_on_workers(tmp_path):
    job = job_of(tmp_path, "0", config_of(tokens=1600))
    train(job, True)
    for workers in (1, 2):
        other = with_config(job_of(tmp_path, str(workers), job.config), data_workers=workers)
        train(other, True)
        assert rows_of(other, "loss", "gradient_norm") == rows_of(job, "loss", "gradient_norm")
        assert rows_of(other, "macro") == rows_of(job, "macro")


def test_an_error_of_a_thread_arrives(stream):
    def place(number: int) -> tuple[int, int, int]:
        if number == 2:
            raise OSError("the disk is gone")
        return number, 1, 8

    ahead = Ahead(stream, place, set(), 1)
    ahead.read(0)
    ahead.read(1)
    with pytest.raises(OSError, match="disk is gone"):
        ahead.read(2)
    ahead.close()
