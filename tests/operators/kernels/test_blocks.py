"""Sequences of documents: each token once, nothing cut that fits, as full as best-fit-decreasing can."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.blocks import IGNORE, Blocks, How, best_fit, concatenate, fill, pack

LENGTHS = st.lists(st.one_of(st.integers(0, 12), st.integers(0, 60)), max_size=40)
SEQ_LENS = st.integers(2, 24)
WINDOWS = st.one_of(st.none(), st.integers(1, 12))
HOWS = st.sampled_from(["best_fit", "concatenate"])


def pieces(blocks: Blocks) -> list[list[tuple[int, int, int]]]:
    """(document, start, end) of every sequence."""
    rows = list(zip(blocks.documents.tolist(), blocks.starts.tolist(), blocks.ends.tolist(), strict=True))
    return [rows[a:b] for a, b in zip(blocks.offsets[:-1], blocks.offsets[1:], strict=True)]


def corpus(lengths: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens that are all different, and where each document begins."""
    sizes = np.array(lengths, np.int64)
    return np.arange(int(sizes.sum()), dtype=np.int32) + 1000, np.cumsum(sizes) - sizes


@given(LENGTHS, SEQ_LENS, HOWS, WINDOWS)
def test_every_token_of_every_document_stands_in_one_place(
    lengths: list[int], seq_len: int, how: How, window: int | None
) -> None:
    blocks = pack(lengths, seq_len, how, window)
    seen = [(d, t) for row in pieces(blocks) for d, start, end in row for t in range(start, end)]
    assert sorted(seen) == [(d, t) for d, size in enumerate(lengths) for t in range(size)]
    assert all(1 <= sum(end - start for _, start, end in row) <= seq_len for row in pieces(blocks))
    assert blocks.tokens == sum(lengths)
    assert blocks.last.tolist() == [end == lengths[d] for row in pieces(blocks) for d, _, end in row]


@given(LENGTHS, SEQ_LENS)
def test_concatenation_is_the_stream_cut_every_seq_len_tokens(lengths: list[int], seq_len: int) -> None:
    blocks = concatenate(lengths, seq_len)
    stream = [(d, t) for d, size in enumerate(lengths) for t in range(size)]
    rows = [[(d, t) for d, start, end in row for t in range(start, end)] for row in pieces(blocks)]
    assert rows == [stream[at : at + seq_len] for at in range(0, len(stream), seq_len)]


@given(LENGTHS, SEQ_LENS, WINDOWS)
def test_best_fit_cuts_no_document_that_fits(lengths: list[int], seq_len: int, window: int | None) -> None:
    blocks = best_fit(lengths, seq_len, window)
    for d, start, end in (piece for row in pieces(blocks) for piece in row):
        assert start % seq_len == 0
        assert end == min(start + seq_len, lengths[d])
    assert blocks.cuts == sum(max(-(-size // seq_len) - 1, 0) for size in lengths)


@given(LENGTHS, SEQ_LENS, WINDOWS)
def test_best_fit_fills_as_the_textbook_does(lengths: list[int], seq_len: int, window: int | None) -> None:
    """The fill levels of every window are those of a best-fit-decreasing that looks at all sequences."""
    rows, at = pieces(best_fit(lengths, seq_len, window)), 0
    for low in range(0, len(lengths), window or max(len(lengths), 1)):
        part = lengths[low : low + window] if window else lengths
        wanted = textbook([min(size - s, seq_len) for size in part for s in range(0, size, seq_len)], seq_len)
        mine = rows[at : at + len(wanted)]
        assert {d for row in mine for d, _, _ in row} <= set(range(low, low + len(part)))
        assert sorted(sum(e - s for _, s, e in row) for row in mine) == sorted(wanted)
        at += len(wanted)
    assert at == len(rows)


def textbook(sizes: list[int], seq_len: int) -> list[int]:
    used: list[int] = []
    for size in sorted(sizes, reverse=True):
        room = [(seq_len - u, i) for i, u in enumerate(used) if u + size <= seq_len]
        if room:
            used[min(room)[1]] += size
        else:
            used.append(size)
    return used


@given(st.lists(st.integers(1, 12), min_size=1, max_size=9), st.integers(12, 20))
def test_best_fit_is_near_the_fewest_sequences_there_are(lengths: list[int], seq_len: int) -> None:
    made, least = len(best_fit(lengths, seq_len)), fewest(tuple(sorted(lengths)), seq_len)
    assert -(-sum(lengths) // seq_len) <= least <= made <= 11 / 9 * least + 6 / 9
    levels = [sum(e - s for _, s, e in row) for row in pieces(best_fit(lengths, seq_len))]
    assert len(levels) < 2 or sum(sorted(levels)[:2]) > seq_len  # no two could be one


@cache
def fewest(sizes: tuple[int, ...], seq_len: int) -> int:
    """Brute force: the largest item with every set of others that fits beside it."""
    if not sizes:
        return 0
    rest, space = sizes[:-1], seq_len - sizes[-1]
    best = len(sizes)
    for chosen in range(1 << len(rest)):
        with_it = [size for i, size in enumerate(rest) if chosen >> i & 1]
        if sum(with_it) <= space:
            without = tuple(size for i, size in enumerate(rest) if not chosen >> i & 1)
            best = min(best, 1 + fewest(without, seq_len))
    return best


@given(LENGTHS, SEQ_LENS, st.integers(1, 12))
def test_a_window_is_packed_as_if_it_were_alone(lengths: list[int], seq_len: int, window: int) -> None:
    rows = []
    for low in range(0, len(lengths), window):
        alone = pieces(best_fit(lengths[low : low + window], seq_len))
        rows += [[(d + low, start, end) for d, start, end in row] for row in alone]
        longest = [max(row, key=lambda piece: piece[2] - piece[1]) for row in alone]
        assert all(row == sorted(row) for row in alone)
        sizes = [[end - start for _, start, end in row] for row in alone]
        if all(len(set(size)) == len(size) for size in sizes):
            assert longest == sorted(longest)  # a sequence stands where its longest piece stood
    assert rows == pieces(best_fit(lengths, seq_len, window))


@given(LENGTHS, SEQ_LENS, HOWS, st.data())
def test_sequences_are_filled_alone_as_all_together(
    lengths: list[int], seq_len: int, how: How, data: st.DataObject
) -> None:
    blocks, (tokens, begins) = pack(lengths, seq_len, how), corpus(lengths)
    whole = fill(blocks, range(len(blocks)), tokens, begins, pad=7)
    for row, found in zip(pieces(blocks), whole.input_ids, strict=True):
        ids = [int(tokens[begins[d] + t]) for d, start, end in row for t in range(start, end)]
        assert found.tolist() == ids + [7] * (seq_len - len(ids))
    some = data.draw(st.lists(st.integers(0, len(blocks) - 1), max_size=5) if len(blocks) else st.just([]))
    part = fill(blocks, some, tokens, begins, pad=7)
    for name in ("input_ids", "position_ids", "segment_ids", "targets"):
        assert getattr(part, name).dtype == np.int32
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[some])


@given(LENGTHS, SEQ_LENS, HOWS)
def test_positions_and_segments_begin_anew_with_every_piece(
    lengths: list[int], seq_len: int, how: How
) -> None:
    blocks, (tokens, begins) = pack(lengths, seq_len, how), corpus(lengths)
    filled = fill(blocks, range(len(blocks)), tokens, begins)
    for row, positions, segments in zip(pieces(blocks), filled.position_ids, filled.segment_ids, strict=True):
        sizes = [end - start for _, start, end in row]
        rest = seq_len - sum(sizes)
        assert positions.tolist() == [t for size in sizes for t in range(size)] + [0] * rest
        assert segments.tolist() == [i + 1 for i, size in enumerate(sizes) for _ in range(size)] + [0] * rest


@given(LENGTHS, SEQ_LENS, HOWS)
def test_every_token_but_a_documents_first_is_a_target_once(
    lengths: list[int], seq_len: int, how: How
) -> None:
    blocks, (tokens, begins) = pack(lengths, seq_len, how), corpus(lengths)
    filled = fill(blocks, range(len(blocks)), tokens, begins)
    known = filled.targets != IGNORE
    first = {int(tokens[b]) for b, size in zip(begins, lengths, strict=True) if size}
    assert sorted(filled.targets[known].tolist()) == sorted(set(tokens.tolist()) - first)
    np.testing.assert_array_equal(filled.targets[known], filled.input_ids[known] + 1)


@given(LENGTHS, SEQ_LENS)
def test_without_the_mask_concatenation_predicts_the_next_token_of_the_stream(
    lengths: list[int], seq_len: int
) -> None:
    blocks, (tokens, begins) = concatenate(lengths, seq_len), corpus(lengths)
    filled = fill(blocks, range(len(blocks)), tokens, begins, masked=False)
    targets = filled.targets[filled.segment_ids > 0]
    np.testing.assert_array_equal(targets, np.append(tokens[1:], IGNORE)[: len(tokens)])
    assert (filled.targets[filled.segment_ids == 0] == IGNORE).all()


def test_documents_are_packed_in_any_order_from_a_file_that_is_mapped(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 50, 200)
    tokens, begins = corpus(lengths.tolist())
    np.save(tmp_path / "ids.npy", tokens)
    mapped = np.load(tmp_path / "ids.npy", mmap_mode="r")
    order = rng.permutation(200)
    blocks = best_fit(lengths[order], 64, window=50)
    filled = fill(blocks, [3], mapped, begins[order])
    d, start, end = pieces(blocks)[3][0]
    at = begins[order[d]] + start
    np.testing.assert_array_equal(filled.input_ids[0, : end - start], tokens[at : at + end - start])


def test_what_concatenation_cuts_best_fit_leaves_whole_for_hardly_more_sequences() -> None:
    lengths = (np.exp(np.random.default_rng(0).normal(6, 1, 20_000)) + 1).astype(np.int64)
    fit, plain = best_fit(lengths, 2048, window=10_000), concatenate(lengths, 2048)
    assert len(plain) == -(-int(lengths.sum()) // 2048)
    assert len(fit) <= 1.001 * len(plain)
    assert fit.cuts < plain.cuts / 4
    assert fit.padding < 0.001


@pytest.mark.parametrize("how", ["best_fit", "concatenate"])
@pytest.mark.parametrize("lengths", [[], [0], [0, 0]])
def test_no_tokens_are_no_sequences(how: How, lengths: list[int]) -> None:
    blocks = pack(lengths, 8, how)
    assert len(blocks) == 0
    assert blocks.padding == 0.0
    assert fill(blocks, [], np.zeros(0, np.int32), np.zeros(len(lengths), np.int64)).targets.shape == (0, 8)


def test_bad_settings_are_refused_with_their_value() -> None:
    with pytest.raises(ValueError, match="seq_len is 1"):
        concatenate([3], 1)
    with pytest.raises(ValueError, match="document 1 has -2 tokens"):
        best_fit([3, -2], 8)
    with pytest.raises(ValueError, match="window is 0"):
        best_fit([3], 8, window=0)
