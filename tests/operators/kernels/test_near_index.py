"""Parts of an index that are not what they should be, and pairs across files and chunks."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from near_corpora import corpus
from near_indexes import signature_of, write, write_part

from operators.kernels.buckets import Bucket, search, slack
from operators.kernels.near_index import Index, least_equal_bytes, open_index
from operators.kernels.near_part import Part, docs_schema, keys_schema
from operators.kernels.shingles import shingle_lists
from operators.minhash_dedup import MinhashDedup

OP = MinhashDedup(threshold=0.5, ngram=2, bands=40, rows=3)
TEXTS = [text for text in corpus(2, 60) if text]


def part(folder: Path) -> Path:
    return Path(write_part(folder, OP, TEXTS, [f"d{i}" for i in range(len(TEXTS))]))


def test_shared_n_grams_and_names_of_pairs_in_any_order(tmp_path: Path) -> None:
    paths = tuple(str(part(tmp_path)) for _ in range(2))
    index = Index(paths)
    column = pa.array(TEXTS, pa.large_string())
    offsets, hashes = shingle_lists(column, signature_of(OP).shingling())
    sets = [set(hashes[a:b].tolist()) for a, b in pairwise(offsets)]
    rng = np.random.default_rng(1)
    row, ordinal = rng.integers(0, len(TEXTS), (2, 300))
    tags = np.array([index.parts[k].tag for k in rng.integers(0, 2, 300)], np.uint64)
    reference = tags << np.uint64(32) | ordinal.astype(np.uint64)
    both, size = index.shared(offsets, hashes, row, reference)
    assert both.tolist() == [len(sets[r] & sets[o]) for r, o in zip(row, ordinal, strict=True)]
    assert size.tolist() == [len(sets[o]) for o in ordinal]
    names, sources, heads = index.names(reference)
    assert names == [f"d{o}" for o in ordinal]
    assert set(sources) == {"hand"}
    assert heads == [TEXTS[o] for o in ordinal]
    first = np.flatnonzero(tags == index.parts[0].tag)
    want = first[np.argsort(ordinal[first], kind="stable")].tolist()
    assert np.argsort(index.order(reference), kind="stable")[: len(want)].tolist() == want


def test_a_process_opens_the_same_parts_once(tmp_path: Path) -> None:
    path = str(part(tmp_path))
    assert open_index((path,)) is open_index((path,))
    assert len(Index((path, path)).parts) == 1


def test_two_parts_with_one_tag_are_refused(tmp_path: Path) -> None:
    path = part(tmp_path)
    other = path.with_name(path.stem[:8] + "0" * 16 + ".json")
    other.write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="two parts of the index have one tag"):
        Index((str(path), str(other)))


def change(path: Path, name: str, value: object) -> None:
    record = json.loads(path.read_text())
    record[name] = value
    path.write_text(json.dumps(record))


def test_band_keys_that_lead_nowhere(tmp_path: Path) -> None:
    path = part(tmp_path)
    arrays = (np.arange(4, dtype=np.uint64), np.full(4, 10**6, np.uint32), np.array([0, 4, 4], np.uint32))
    lists = [pa.LargeListArray.from_arrays(pa.array([0, len(a)]), pa.array(a)) for a in arrays]
    change(path, "keys", [write(tmp_path, keys_schema(), lists)])
    with pytest.raises(ValueError, match=r"band keys of part .* are damaged"):
        list(Part(str(path)).hits(np.array([2], np.uint64)))


def test_sets_whose_bounds_are_no_bounds(tmp_path: Path) -> None:
    path = part(tmp_path)
    broken = Part(str(path))
    sets = pa.LargeListArray.from_arrays(pa.array([0, 3, 1]), pa.array(np.arange(3, dtype=np.uint64)))
    file = write(tmp_path, docs_schema(), [*(pa.array(["", ""], pa.large_string()),) * 2, sets])
    broken.docs[0].record.update(docs=file["file"], docs_bytes=file["bytes"])
    with pytest.raises(ValueError, match="is damaged"):
        broken.docs[0].chunk(0)


def test_a_record_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read as a part"):
        Part(str(tmp_path / "none.json"))
    path = part(tmp_path)
    change(path, "format", "tamis near-duplicate index 0")
    with pytest.raises(ValueError, match="no part of a near-duplicate index of this version"):
        Part(str(path))


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_an_index_asks_for_as_many_equal_bytes_as_a_run(threshold: float) -> None:
    """Else months one after the other would not keep what one run keeps."""
    needed = least_equal_bytes(threshold, 128)
    for equal in (needed - 1, needed):
        signature = np.zeros((2, 128), np.uint8)
        signature[1, equal:] = 1
        key, uid = np.zeros(2, np.uint64), np.arange(2)
        how = {"threshold": threshold, "slack": slack(threshold, 128), "most": 4}
        assert search(key, uid, signature, Bucket(128), **how)[0].tolist() == [0, int(equal >= needed)]
