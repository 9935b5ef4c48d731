"""The study of undersampling on tables small enough for seconds."""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workflows import undersampling


@pytest.fixture
def asked(tmp_path: Path) -> Namespace:
    """Two overlapping classes as a table with texts, and their vectors."""
    rng = np.random.default_rng(0)
    label = np.arange(600) % 2
    x = rng.normal(size=(600, 12)) + label[:, None] * 0.8
    words = [" ".join(f"w{label[i] * 5 + n}" for n in rng.integers(0, 9, 8)) for i in range(600)]
    pq.write_table(pa.table({"text": words, "label": label}), tmp_path / "t.parquet")
    np.save(tmp_path / "e.npy", x.astype(np.float16))
    return Namespace(file=tmp_path / "t.parquet", embeddings=tmp_path / "e.npy", label="label", seeds=2)


def figures(line: str) -> list[float]:
    return [float(number) for number in re.findall(r"[-+]?\d*\.\d+", line)]


def test_random_undersampling_finds_the_rare_class(
    asked: Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    undersampling.balance(asked)
    lines = capsys.readouterr().out.splitlines()
    found = {line[2:34].strip(): figures(line[34:]) for line in lines if line.startswith("  ")}
    assert found["random 50:50"][0] > found["all rows"][0]
    assert found["random 50:50"][1] == 0  # its own baseline
    assert {"Tomek links", "cluster centroids", "instance hardness, permuted"} <= found.keys()


def test_a_stratified_sample_is_near_in_what_it_is_stratified_by(
    asked: Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    undersampling.keep(asked)
    lines = capsys.readouterr().out.splitlines()
    found = {line[2:38].strip(): figures(line[38:]) for line in lines if line.startswith("  ")}
    of_length = {name: values[4] for name, values in found.items()}
    assert of_length["stratified by label x length"] < of_length["random"]
    assert found["surest labels (no sample)"][0] > found["random"][0]
