"""Formulas with published values and those of textstat from the same counts; texts without words are null."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_engine import run

from operators.kernels.prose import NAMES
from operators.readability import COUNTS, SCORES, Readability, scores


def found(texts: list[str | None]) -> list[dict[str, Any]]:
    return run(
        Readability(), pa.table({"text": pa.array(texts, pa.large_string())}), batch_rows=2
    ).to_pylist()


def test_published_values() -> None:
    """The cat on the mat, and the counts of Coleman & Liau's own example text."""
    cat, lone = found(["The cat sat on the mat.", "Go!"])
    assert [cat[name] for name in COUNTS] == [6, 1, 6, 0]
    assert cat["flesch_reading_ease"] == pytest.approx(116.145, abs=1e-4)
    assert cat["flesch_kincaid"] == pytest.approx(-1.45, abs=1e-6)
    assert cat["smog"] == pytest.approx(3.1291, abs=1e-6)
    assert lone["flesch_kincaid"] == pytest.approx(-3.40, abs=1e-6)  # the lowest grade there can be
    counts = dict.fromkeys(NAMES, np.array([1]))
    counts |= {"letters": np.array([639]), "words": np.array([119]), "sentences": np.array([5])}
    assert scores(counts)["coleman_liau"][0] == pytest.approx(14.53, abs=0.01)


COUNTED = st.tuples(
    st.integers(1, 900), st.integers(1, 60), st.integers(0, 900), st.integers(0, 400), st.integers(1, 5000)
)


@settings(deadline=None, max_examples=50)
@given(COUNTED)
def test_textstat_has_the_same_formulas(counted: tuple[int, int, int, int, int]) -> None:
    pytest.importorskip("textstat")
    from textstat.backend.metrics import (
        _automated_readability_index,
        _flesch_kincaid_grade,
        _flesch_reading_ease,
        _gunning_fog,
        _smog_index,
    )

    words, sentences, hard, polysyllables, letters = counted
    syllables = words + hard
    given_counts = {
        "words_per_sentence": words / sentences,
        "syllables_per_word": syllables / words,
        "count_words": words,
        "count_difficult_words": hard,
        "count_sentences": sentences,
        "count_polysyllable_words": polysyllables,
        "chars_per_word": letters / words,
    }
    mine = dict.fromkeys(NAMES, np.array([0])) | {
        "words": np.array([words]), "sentences": np.array([sentences]), "syllables": np.array([syllables]),
        "complex_words": np.array([hard]), "polysyllables": np.array([polysyllables]),
        "alphanumeric": np.array([letters]),
    }  # fmt: skip
    got = {name: float(values[0]) for name, values in scores(mine).items()}
    modules = {
        "flesch_reading_ease": (_flesch_reading_ease, "flesch_reading_ease", ("en_US",)),
        "flesch_kincaid": (_flesch_kincaid_grade, "flesch_kincaid_grade", ("en_US",)),
        "gunning_fog": (_gunning_fog, "gunning_fog", ("en_US",)),
        "smog": (_smog_index, "smog_index", ("en_US",)),
        "ari": (_automated_readability_index, "automated_readability_index", ()),
    }
    text = repr(counted)  # textstat remembers what it has seen
    for score, (module, name, more) in modules.items():
        with pytest.MonkeyPatch.context() as patch:
            for count, value in given_counts.items():
                if hasattr(module, count):
                    patch.setattr(module, count, lambda *_, value=value: value)
            assert getattr(module, name)(text, *more) == pytest.approx(got[score], rel=1e-9)


def test_no_words_no_scores() -> None:
    for row in found([None, "", " \n", "!!! ..."]):
        assert {row[name] for name in SCORES} == {None}
        assert {row[name] for name in COUNTS} == {0}
    assert found([]) == []


def test_harder_prose_has_higher_grades() -> None:
    easy = "The dog ran to the tree. It saw a cat. The cat ran up. The dog sat down."
    hard = (
        "Notwithstanding considerable methodological heterogeneity, contemporary investigations of "
        "institutional accountability consistently demonstrate multidimensional interrelationships."
    )
    low, high = found([easy, hard])
    assert low["flesch_reading_ease"] > 90 > 30 > high["flesch_reading_ease"]
    assert all(low[name] < high[name] for name in SCORES[1:])
