"""Signatures as columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from memory_engine import run
from near_corpora import corpus
from pydantic import ValidationError

from operators.kernels.lists import cells
from operators.minhash_signature import MinhashSignature


def test_columns_do_not_depend_on_the_batch() -> None:
    table = pa.table({"text": [*corpus(1, 50), None, ""]})
    assert run(MinhashSignature(), table, 7).equals(run(MinhashSignature(), table, 100))


def test_texts_without_words_have_no_shingles() -> None:
    out = run(MinhashSignature(), pa.table({"text": ["a", None, "", "?!"]}))
    assert out["shingles"].to_pylist() == [1, 0, 0, 0]


def test_units_and_case_and_punctuation() -> None:
    table = pa.table({"text": ["A b-c", "a b c", "A b c"], "ids": [[1, 2, 3], [1, 2, 3, 4], None]})
    shingles = {
        unit: run(MinhashSignature(ngram=2, **fields), table)["shingles"].to_pylist()
        for unit, fields in {
            "words": {},
            "marks": {"punctuation": "keep"},
            "characters": {"unit": "characters"},
            "tokens": {"unit": "tokens", "column": "ids"},
        }.items()
    }
    assert shingles == {
        "words": [2, 2, 2],
        "marks": [3, 2, 2],
        "characters": [4, 4, 4],
        "tokens": [2, 3, 0],
    }
    for case, equal in (("fold", True), ("keep", False)):
        out = run(MinhashSignature(ngram=2, case=case), table)
        assert (out["same_low"][1] == out["same_low"][2]) is equal


def test_fields_that_do_not_go_together() -> None:
    with pytest.raises(ValidationError, match="punctuation: keep is for unit: words"):
        MinhashSignature(unit="characters", punctuation="keep")


def test_another_seed_is_another_signature() -> None:
    table = pa.table({"text": ["a b c d e f g h"]})
    one, two = (
        cells(run(MinhashSignature(seed=seed), table)["signature"].combine_chunks(), np.uint8)
        for seed in (1, 2)
    )
    assert (one == two).mean() < 0.1


def test_too_many_bands() -> None:
    with pytest.raises(ValidationError, match="lower bands or rows, or raise permutations"):
        MinhashSignature(bands=20, rows=8)
