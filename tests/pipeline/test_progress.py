"""The progress display: plain lines at most once a second, the live one, threads, and broken streams."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

from pipeline.progress import NodeProgress, Progress


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    """A stream whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_plain_lines_come_at_most_once_a_second() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(plain=True, stream=stream, clock=clock)
    progress.note("hello")
    progress.start("fuzzy", 1000)
    for _ in range(40):
        clock.now += 0.1
        progress.advance("fuzzy", 10, kept=5)
    progress.finish("fuzzy", "1,000 → 500 rows")
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["hello", "fuzzy: starting, 1,000 rows"]
    assert lines[2].startswith("fuzzy: 1")
    assert "of 1,000 rows" in lines[2]
    assert lines[2].endswith("left")
    assert 3 <= len([line for line in lines if "rows/s" in line]) <= 4
    assert lines[-1] == "fuzzy: 1,000 → 500 rows (4.00 s)"


def test_text_of_a_node() -> None:
    state = NodeProgress("a", 1000, started=0.0, rows=250, kept=100)
    assert state.text(2.0) == "a: 250 of 1,000 rows (25.0 %), 125 rows/s, 40.0 % kept, 6.00 s left"
    assert NodeProgress("a", None, started=0.0, rows=5).text(0.0) == "a: 5 rows"


def test_what_was_done_before_is_not_counted_as_fast() -> None:
    state = NodeProgress("train", 100, started=0.0, rows=60, unit="steps", before=40)
    assert state.text(10.0) == "train: 60 of 100 steps (60.0 %), 2 steps/s, 20.0 s left"


def test_threads_lose_no_rows() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(plain=True, stream=stream, clock=clock)
    progress.start("a", 8000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: progress.advance("a", 1, kept=1), range(8000)))
    clock.now += 2
    progress.advance("a", 0)
    assert "8,000 of 8,000 rows (100 %), 4,000 rows/s, 100 % kept" in stream.getvalue()


def test_a_live_display_leaves_the_final_lines() -> None:
    stream = Terminal()
    with Progress(stream=stream) as progress:
        progress.note("first")
        progress.start("exact[1]", 10)
        progress.advance("exact[1]", 5, kept=4)
        progress.note("meanwhile")
        progress.finish("exact[1]", "10 → 8 rows")
    progress.note("after")
    text = stream.getvalue()
    assert text.startswith("first\n")
    assert "meanwhile" in text
    assert "exact[1]: 10 → 8 rows" in text
    assert text.endswith("after\n")
    assert "\x1b[?25h" in text, "the cursor is not given back"


def test_plain_on_a_terminal_when_asked() -> None:
    stream = Terminal()
    progress = Progress(plain=True, stream=stream)
    progress.start("a")
    assert stream.getvalue() == "a: starting\n"


def test_nodes_that_never_started_do_no_harm() -> None:
    stream = io.StringIO()
    with Progress(stream=stream) as progress:
        progress.advance("a", 3)
        progress.finish("a")
    assert stream.getvalue() == "a: done\n"


def test_quiet_says_nothing_and_a_broken_stream_does_not_stop_a_run() -> None:
    stream = io.StringIO()
    for progress in (Progress(quiet=True, stream=stream), Progress(stream=Gone())):
        progress.note("x")
        progress.start("a", 1)
        progress.advance("a", 1)
        progress.finish("a")
        progress.close()
    assert not stream.getvalue()
