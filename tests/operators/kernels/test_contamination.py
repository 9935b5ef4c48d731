"""n-grams and their places against regular expressions."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels import units
from operators.kernels.contamination import Grams, find_grams, list_grams, make_table, unit_bounds
from operators.kernels.text_buffers import text_buffers

TEXT = st.text(st.sampled_from("ab_9 .\tİΣςé中😀\u0301\u3000") | st.characters(codec="utf-8"), max_size=40)


def column(texts: list[str | None]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def buffers(texts: list[str | None]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return text_buffers(column(texts))


@given(TEXT)
def test_places_of_words(text: str) -> None:
    data, starts, ends = buffers(["before", text])
    bounds = unit_bounds(data, int(starts[1]), int(ends[1]), characters=False)
    found = [data[a:b].tobytes().decode().lower() for a, b in zip(*bounds, strict=True)]
    words = re.findall(r"\w+", text.lower())
    # The dot of U+0130 ends a word, and a capital sigma is final by what follows it, not by itself.
    plain = [re.sub("\u0307", "", word).replace("ς", "σ") for word in found]
    assert plain == [word.replace("ς", "σ") for word in words]


@given(TEXT.filter(lambda text: "\ufffd" not in text))
def test_places_of_characters(text: str) -> None:
    data, starts, ends = buffers(["before", text])
    bounds = unit_bounds(data, int(starts[1]), int(ends[1]), characters=True)
    found = [data[a:b].tobytes().decode() for a, b in zip(*bounds, strict=True)]
    plain = "".join(c.lower()[-1] if not c.isspace() else c[0] for c in found)
    squeezed = " ".join(text.lower().split())
    assert len(found) == len(squeezed)
    assert [c.isspace() for c in plain] == [c.isspace() for c in squeezed]
    assert set(re.sub(r"\s", "", "".join(found))) == set(re.sub(r"\s", "", text))


@pytest.mark.parametrize("characters", [False, True])
@given(texts=st.lists(st.none() | TEXT, max_size=5), length=st.integers(1, 4), least=st.integers(1, 4))
def test_every_ngram_of_a_text_is_found_in_it(
    characters: bool, texts: list[str | None], length: int, least: int
) -> None:
    """Lists as long as the units say, and the places where they are found are those they were made of."""
    grams = Grams(characters, length, min(least, length))
    given_ = buffers(texts)
    rows, hashes, suffixes, sizes = list_grams(given_, grams)
    for row, (start, end) in enumerate(zip(given_[1], given_[2], strict=True)):
        many = len(unit_bounds(given_[0], int(start), int(end), characters)[0])
        expected = many - length + 1 if many >= length else int(many >= grams.least)
        assert (rows == row).sum() == expected
        assert set(sizes[rows == row]) <= {min(many, length)}
    distinct, first = np.unique(hashes, return_index=True)
    table = make_table(distinct, suffixes[first], sizes[first])
    row, last, size, slot = find_grams(given_, grams, table)
    found = {(r, e, n): distinct[s] for r, e, n, s in zip(row, last, size, slot, strict=True)}
    place = np.arange(len(rows)) - np.searchsorted(rows, rows) + sizes - 1
    assert all(found[r, p, n] == h for r, p, n, h in zip(rows, place, sizes, hashes, strict=True))


def test_texts_longer_than_a_chunk() -> None:
    words = [f"w{i * 7919 % 5000}" for i in range(9000)]
    text = " ".join(words)
    assert len(text) > 4 * units.CHUNK
    grams = Grams(False, 5, 2)
    rows, hashes, suffixes, sizes = list_grams(buffers([text]), grams)
    assert len(rows) == 8996
    assert len(np.unique(hashes)) == len({tuple(words[i : i + 5]) for i in range(8996)})
    some = np.unique(hashes, return_index=True)[1][::100]
    order = some[np.argsort(hashes[some])]
    table = make_table(hashes[order], suffixes[order], sizes[order])
    _, last, _, slot = find_grams(buffers(["other", text]), grams, table)
    wanted = {hashes[i] for i in order}
    assert last.tolist() == [i + 4 for i in range(8996) if hashes[i] in wanted]
    assert hashes[order][slot].tolist() == [h for h in hashes if h in wanted]


def test_more_hits_than_the_first_guess() -> None:
    grams = Grams(False, 1, 1)
    _, hashes, suffixes, sizes = list_grams(buffers(["x"]), grams)
    table = make_table(hashes, suffixes, sizes)
    row, last, _, _ = find_grams(buffers(["x " * 3000, "x " * 3000]), grams, table)
    assert row.tolist() == [0] * 3000 + [1] * 3000
    assert last.tolist() == [*range(3000)] * 2
