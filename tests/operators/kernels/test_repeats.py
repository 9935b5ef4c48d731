"""From runs of windows to bytes: what goes, and which white space stays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from operators.kernels.cuts import reference as applied
from operators.kernels.repeats import Asked, excise, repeats
from operators.kernels.segments import Winnowing
from operators.kernels.text_buffers import text_buffers


def excised(text: str, *runs: tuple[int, int], length: int = 2) -> str:
    """The text without the tokens of these runs of windows of two tokens."""
    texts = text_buffers(pa.array(["some other text", text], pa.large_string()))
    begin, last = (np.array([run[k] for run in runs], np.int32) for k in (0, 1))
    lost = excise(texts, Winnowing(length), np.array([0, len(runs)]), begin, last)
    assert lost.lengths[0] == 0
    assert lost.left[0] == -1
    gone = zip(lost.start.tolist(), lost.end.tolist(), lost.joined.tolist(), strict=True)
    return applied(text.encode(), [(a, b, b" " if space else b"") for a, b, space in gone]).decode()


@pytest.mark.parametrize(
    ("text", "runs", "left"),
    [
        ("a b X Y c d", [(2, 2)], "a b c d"),
        ("a b\n\nX Y c d", [(2, 2)], "a b\n\nc d"),
        ("a b X Y\n\nc d", [(2, 2)], "a b\n\nc d"),
        ("a b\r\n\r\nX Y\r\nc d", [(2, 2)], "a b\r\n\r\nc d"),
        ("a b\n\nX Y\n\nc d", [(2, 2)], "a b\n\nc d"),
        ("a\u3000X Y\nc", [(1, 1)], "a\nc"),
        ("  X Y\n\nc d", [(0, 0)], "c d"),
        ("a b  X Y\n", [(2, 2)], "a b\n"),
        ("\n X Y \n", [(0, 0)], ""),
        ("foo(X Y)bar", [(2, 2)], "foo()bar"),
        ("foo.X.bar", [(1, 2)], "foo bar"),
        ("中文X Y中文", [(2, 2)], "中文中文"),
        ("a X X X Y b X Y c", [(1, 3), (6, 6)], "a b c"),
        ("a X Y Z W b", [(1, 1), (3, 3)], "a b"),
        ("a X Y b Z W c", [(1, 1), (4, 4)], "a b c"),
        ("e\u0301 X Yo\u0308 b", [(1, 1)], "e\u0301 b"),
    ],
)
def test_what_is_left(text: str, runs: list[tuple[int, int]], left: str) -> None:
    assert excised(text, *runs) == left


def test_runs_that_a_text_does_not_have_cut_nothing() -> None:
    assert excised("a b c", (7, 9)) == "a b c"
    assert excised("", (0, 3)) == ""


def test_the_bytes_of_every_run_and_the_tokens_that_are_left() -> None:
    texts = text_buffers(pa.array(["é b c d e f", "x"], pa.large_string()))
    runs = np.array([0, 1, 4], np.int32), np.array([0, 2, 4], np.int32)
    lost = excise(texts, Winnowing(2), np.array([3, 0]), *runs)
    assert (lost.run_start.tolist(), lost.run_end.tolist()) == ([0, 3, 9], [4, 8, 12])
    assert (lost.lengths.tolist(), lost.left.tolist()) == ([1, 0], [0, -1])


def found(**columns: list[int]) -> tuple[np.ndarray, ...]:
    kinds = {"start": np.int32, "windows": np.int32, "copies": np.int32, "uid": np.int64, "first": np.int32}
    return tuple(np.array(columns[name], kind) for name, kind in kinds.items())


def no_answers(rows: int) -> Asked:
    nothing = np.zeros(0, np.int64)
    return Asked(np.zeros(rows, np.int64), nothing, nothing, nothing, nothing.astype(np.int32))


def test_copies_of_another_text_go_whole_and_join() -> None:
    segments = found(start=[3, 7], windows=[4, 2], copies=[1, 3], uid=[1, 1], first=[0, 20])
    row, begin, last, uid = repeats(np.array([9]), np.array([2]), segments, no_answers(1), 5)
    assert (row.tolist(), begin.tolist(), last.tolist(), uid.tolist()) == ([0], [3], [12], [1])


def test_copies_of_the_same_text_go_from_one_length_on() -> None:
    segments = found(start=[0], windows=[2], copies=[5], uid=[9], first=[0])
    _, begin, last, uid = repeats(np.array([9]), np.array([1]), segments, no_answers(1), 4)
    assert (begin.tolist(), last.tolist(), uid.tolist()) == ([4], [9], [9])


def test_a_copy_that_overlaps_its_first_is_judged_by_the_windows_of_that() -> None:
    """The first of the segment is this text's own, but its second window stands in text 2 already."""
    segments = found(start=[0], windows=[2], copies=[2], uid=[9], first=[0])
    asked = Asked(np.array([1]), np.array([1]), np.array([2]), np.array([2]), np.array([30], np.int32))
    _, begin, last, uid = repeats(np.array([9]), np.array([1]), segments, asked, 4)
    assert (begin.tolist(), last.tolist(), uid.tolist()) == ([1, 3], [1, 3], [2, 2])
