"""Writes BAD_INPUT.md from the kinds that the tests try."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    TESTS = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(TESTS.parent), str(TESTS)]
    from bad_input.kinds import page
    from bad_input.test_bad_input import KINDS

    (TESTS.parent / "BAD_INPUT.md").write_text(page(KINDS), "utf-8")
